from __future__ import annotations

import os
from pathlib import Path

import pytest

from autoheal.errors import ConfigError
from autoheal.model import Mode
from autoheal.rules import Matcher, Rule, RuleBudget, Window, describe, load
from tests.support.loading import ACTIONS, faults, loaded

STEP = "[{command: {argv: [/bin/true]}}]"


def rule(extra: str = "", *, name: str = "a") -> str:
    """A rules file with one rule that has `extra` keys."""
    return f"version: 1\nrules:\n  - {{name: {name}, match: a=b, target: t, steps: {STEP}{extra and ', ' + extra}}}\n"


def test_what_a_rule_does_not_say_has_its_default(tmp_path: Path) -> None:
    """Dry run, ten minutes of cooldown, a minute of timeout, 60 runs an hour for all rules, 15 minutes to resolve."""
    rules = loaded(tmp_path, rule())
    assert rules.budget == (Window(60, 3600.0),)
    assert rules.protect == ()
    assert dict(rules.secrets) == {}
    (only,) = rules.rules
    assert only.matchers == (Matcher("a", "=", "b"),)
    assert (only.for_, only.mode, only.cooldown, only.continue_) == (0.0, Mode.DRY_RUN, 600.0, False)
    assert only.rollout == 100.0
    assert (only.storm, only.breaker, only.freeze) == (Window(30, 600.0), None, ())
    assert (only.budget, only.protect, only.allow_target) == (RuleBudget(), (), None)
    (step,) = only.steps
    assert step.action == "command"
    assert step.params.timeout == 60.0  # type: ignore[attr-defined]
    assert (step.verify.resolved_within, step.verify.probe) == (900.0, None)


def test_defaults_stand_for_what_rules_leave_out_and_for_nothing_else(tmp_path: Path) -> None:
    """A rule's own mode, cooldown and timeout win; an action without a timeout gets none."""
    rules = loaded(
        tmp_path,
        """
version: 1
defaults: {mode: live, cooldown: 1m, timeout: 5s}
budget: [5/1h, 9/1d]
protect: ['namespace="kube-system"', 'a=b, c=d']
secrets: {TOKEN: /run/secrets/token}
rules:
  - {name: a, match: a=b, target: t, steps: [{command: {argv: [/x]}}, {http: {url: 'http://h/'}}]}
  - name: b
    match: ['a=b', 'c=~"d|e"']
    for: 30s
    target: t
    mode: off
    cooldown: 0s
    budget: {target: [1/1h], rule: [3/1h]}
    protect: [e=f]
    continue: true
    steps: [{command: {argv: [/x], timeout: 1h}, verify: {resolved_within: 1m}}]
""",
    )
    first, second = rules.rules
    assert (first.mode, first.cooldown) == (Mode.LIVE, 60.0)
    assert [getattr(step.params, "timeout", None) for step in first.steps] == [5.0, None]
    assert (second.mode, second.cooldown, second.for_, second.continue_) == (Mode.OFF, 0.0, 30.0, True)
    assert second.budget == RuleBudget(target=(Window(1, 3600.0),), rule=(Window(3, 3600.0),))
    assert second.matchers == (Matcher("a", "=", "b"), Matcher("c", "=~", "d|e"))
    assert second.protect == ((Matcher("e", "=", "f"),),)
    assert second.steps[0].params.timeout == 3600.0  # type: ignore[attr-defined]
    assert second.steps[0].verify.resolved_within == 60.0
    assert rules.budget == (Window(5, 3600.0), Window(9, 86400.0))
    assert rules.protect[1] == (Matcher("a", "=", "b"), Matcher("c", "=", "d"))
    assert dict(rules.secrets) == {"TOKEN": Path("/run/secrets/token")}


def test_a_rules_own_storm_wins(tmp_path: Path) -> None:
    """Over the one at the top, `off` too; without either it is the default."""

    def storms(top: str) -> list[Window | None]:
        others = "".join(
            f"  - {{name: {name}, match: a=b, mode: off{storm}}}\n"
            for name, storm in (("b", ", storm: off"), ("c", ""))
        )
        return [each.storm for each in loaded(tmp_path, top + rule("storm: 5/1m") + others).rules]

    assert storms("") == [Window(5, 60.0), None, Window(30, 600.0)]
    assert storms("storm: 9/1h\n") == [Window(5, 60.0), None, Window(9, 3600.0)]
    assert storms("storm: off\n") == [Window(5, 60.0), None, None]


def test_a_rule_is_another_when_something_is_written_otherwise(tmp_path: Path) -> None:
    """Its digest follows its own text and the file's defaults, and neither comments, order nor its neighbours."""

    def digest(text: str) -> str:
        return loaded(tmp_path, text).rules[0].digest

    first = digest(rule("for: 5s, cooldown: 1m"))
    assert digest(rule("cooldown: 1m,   for: 5s") + "  - {name: b, match: a=b, mode: off} # new\n") == first
    assert digest(rule("cooldown: 1m, for: 6s")) != first
    assert digest("defaults: {timeout: 5s}\n" + rule("for: 5s, cooldown: 1m")) != first


def test_the_first_match_wins_unless_it_says_to_continue(tmp_path: Path) -> None:
    """As in Alertmanager's routes."""
    text = "version: 1\nrules:\n"
    for name, match, more in (
        ("a", "x=1", "true"),
        ("b", "y=1", "false"),
        ("c", "x=~.+", "false"),
        ("d", "x=1", "true"),
    ):
        text += f"  - {{name: {name}, match: '{match}', mode: off, continue: {more}}}\n"
    rules = loaded(tmp_path, text)

    def names(found: list[Rule]) -> list[str]:
        return [found_rule.name for found_rule in found]

    assert names(rules.match({"x": "1"})) == ["a", "c"]
    assert names(rules.match({"x": "1", "y": "1"})) == ["a", "b"]
    assert names(rules.match({"x": "2"})) == ["c"]
    assert names(rules.match({"z": "1"})) == []


def test_json_is_a_rules_file_and_no_rules_are_rules(tmp_path: Path) -> None:
    """YAML 1.2 contains JSON; with an empty list every alert is without a rule."""
    rules = loaded(tmp_path, '{"version": 1,\n\t"rules": []}')
    assert rules.match({"a": "b"}) == []
    assert describe(rules) == "SUCCESS: 0 rules found"
    assert describe(loaded(tmp_path, rule())) == "SUCCESS: 1 rule found"


def test_all_faults_are_told_at_once_each_with_its_place(tmp_path: Path) -> None:
    """YAML, shape, values, templates and combinations, in the order of the text."""
    assert faults(
        tmp_path,
        """version: 2
secret: {TOKEN: /run/secrets/token}
secrets: {a-b: /x, OK: relative}
protect: ['namespace="kube-system']
budget: [0/1h]
rules:
  - name: restart me
    match: ['alertname=~"X("', 5]
    mach: a
    for: 30
    target: '{{ target }}'
    mode: of
    continue: yes
    budget: [3]
    allow_target: '('
    steps:
      - comand: {argv: [/opt/fix]}
        verify: {resolved_within: 0s, probe: {http: 'http://{{ labels.instance }', stabel: 5s}}
      - http: {url: 'http://h/', headers: {Authorization: 'Bearer {{ secret.TOKEN }}'}, json: {a: ['{{ nope }}']}}
      - http: {url: 'ftp://x/'}
        command: {argv: [5]}
      - verify: {}
  - name: a
    match: x=""
  - name: a
    match: a=b
    mode: off
    mode: live
  - 5
""",
    ) == [
        "1:10: version: should be 1, not '2'",
        "2:1: unknown key 'secret': did you mean 'secrets'?",
        "3:11: a-b: should match pattern '^[A-Za-z_][A-Za-z0-9_]{0,63}$', not 'a-b'",
        "3:24: OK: 'relative' must be an absolute path: the service's working directory is not yours",
        "4:11: protect: column 11: this quoted string has no end",
        "5:10: budget: a budget of 0 never acts: say so with `mode: off`",
        "7:11: name: should match pattern '^[a-zA-Z0-9_.-]{1,64}$', not 'restart me'",
        "8:13: match: column 12: 'X(' is not an RE2 regular expression: missing ): X(",
        "8:32: match: should be text with matchers, as in 'alertname=\"X\"'",
        "9:5: unknown key 'mach': did you mean 'match'?",
        "10:10: for: 30 has no unit: write 30s for seconds",
        "11:13: target: `target` cannot be used in the target itself",
        "12:11: mode: should be 'off', 'dry_run', 'approve' or 'live', not 'of'",
        "13:15: continue: should be true or false, not 'yes'",
        "14:14: budget: '3' is not a budget: write it like 3/1h, at most 3 in any hour",
        "15:19: allow_target: '(' is not an RE2 regular expression: missing ): (",
        "17:9: unknown key 'comand': did you mean 'command'?",
        "18:35: resolved_within: must be longer than 0s",
        "18:53: http: 'http://{{ labels.instance }' is not a template: unexpected '}'",
        "18:84: unknown key 'stabel': did you mean 'stable'?",
        "19:59: Authorization: secret 'TOKEN' is not declared under `secrets`",
        "19:95: json: unknown name 'nope': known are alertname, annotations, fingerprint, labels, secret, target",
        "20:21: url: 'ftp://x/' does not begin with http:// or https://",
        "21:9: a step has one action, not http and command",
        "21:26: argv: should be text, not 5: quote it",
        "22:9: 'verify' needs resolved_within, probe or both, each with a value",
        "22:9: a step needs an action: one of command, http",
        "23:5: 'steps' is missing: a rule needs one unless it has `mode: off`",
        "23:5: 'target' is missing: what is to be locked, cooled down and budgeted",
        "24:12: match: holds for an alert without labels, so for far too many: add a matcher that needs a value",
        f"25:11: duplicate rule name 'a': it stands at {tmp_path}/rules.yaml:23:11",
        "28:5: duplicate key 'mode': it stands at 27:5 already",
        "29:5: rules: should be a mapping, not '5'",
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("version: 1", "1:1: 'rules' is missing"),
        ("rules: []", "1:1: 'version' is missing"),
        ("version: true\nrules: []", "1:10: version: should be 1, not 'True'"),
        ("version: '1'\nrules: []", "1:10: version: should be 1, not '1'"),
        ("[]", "1:1: the file: should be a mapping"),
        ("version: 1\nrules: {}", "2:8: rules: should be a list"),
        ("version: 1\nrules:", "2:7: rules: should be a list, not nothing"),
        (rule("mode: ask"), "mode: should be 'off', 'dry_run', 'approve' or 'live', not 'ask'"),
        (rule("rollout: 5"), "rollout: '5' is not a share: write it like 25% or 0.5%"),
        (rule("rollout: 0%"), "rollout: a share of 0% never acts"),
        (rule("rollout: 101%"), "rollout: '101%' is more than all"),
        (rule("rollout: "), "rollout: 'None' is not a share"),
        (rule("allow_target: "), "'allow_target' has no value"),
        (rule("mode: "), "'mode' has no value"),
        (rule("cooldown: "), "'cooldown' has no value"),
        (rule(name="'" + "x" * 65 + "'"), "name: should match pattern"),
        (rule("rerun_interrupted: yes"), "rerun_interrupted: should be true or false"),
        (rule("rerun_interrupted: true"), "command: to do this twice may not be the same as once"),
        (rule("breaker: "), "'breaker' has no value"),
        (rule("breaker: 3"), "breaker: should be a mapping, not '3'"),
        (rule("breaker: {failures: 3}"), "'reset' is missing"),
        (rule("breaker: {failures: 0, reset: 1h}"), "failures: should be greater than or equal to 1, not '0'"),
        (rule("breaker: {failures: yes, reset: 1h}"), "failures: should be a valid integer"),
        (
            rule("breaker: {failures: 3, reset: 1h, demote: live}"),
            "demote: should be 'dry_run' or 'approve', not 'live'",
        ),
        (rule("breaker: {failures: 3, reset: 0s}"), "reset: must be longer than 0s"),
        (rule("storm: "), "storm: 'None' is not off, or N/DURATION such as 30/10m with a span of at most 1d"),
        (rule("storm: 0/10m"), "storm: '0/10m' is not off, or N/DURATION"),
        (rule("storm: 30/25h"), "storm: '30/25h' is not off, or N/DURATION"),
        (rule("storm: [30/10m]"), "is not off, or N/DURATION"),
        (rule("concurrency: "), "'concurrency' has no value"),
        (rule("concurrency: 0"), "concurrency: should be greater than or equal to 1, not '0'"),
        (rule("concurrency: 10%"), "concurrency: should be a valid integer"),
        (rule("unless: a=b"), "unless: should be a list"),
        (rule("unless: [5]"), "unless: should be a mapping, not '5'"),
        (rule("unless: ['a!=b']"), "unless: holds for an alert without labels"),
        (rule("unless: [{equal: [a]}]"), "'match' is missing"),
        (rule("unless: [{match: a=b, equal: [5]}]"), "equal: should be the name of a label"),
        (rule("unless: [{match: a=b, equal: ['']}]"), "equal: should be the name of a label"),
        (rule("unless: [{match: a=b, equals: [c]}]"), "unknown key 'equals': did you mean 'equal'?"),
        (rule("fleet: "), "'fleet' has no value"),
        (rule("fleet: {at_most: 10%}"), "'of' is missing"),
        (rule("fleet: {at_most: 0, of: count(up)}"), "at_most: '0' is neither a whole number from 1 to 999999 nor"),
        (rule("fleet: {at_most: true, of: count(up)}"), "at_most: 'True' is neither"),
        (rule("fleet: {at_most: 0.1, of: count(up)}"), "at_most: '0.1' is neither"),
        (rule("fleet: {at_most: 101%, of: count(up)}"), "at_most: '101%' is neither"),
        (rule("fleet: {at_most: 0%, of: count(up)}"), "at_most: '0%' is neither"),
        (rule("fleet: {at_most: 1, of: 'count(up{job={{ labels.x }}})'}"), "of: in PromQL a placeholder must stand in"),
        (rule("fleet: {at_most: 1, of: ''}"), "of: in PromQL an expression cannot be empty"),
        (rule("fleet: {at_most: 1, of: 5}"), "of: should be text, not 5: quote it"),
        (rule("for: -5s"), "'-5s' is not a duration"),
        (rule("budget: {targets: [1/1h]}"), "unknown key 'targets': did you mean 'target'?"),
        (rule("protect: ['a=~\"(\"']"), "protect: column 4: '(' is not an RE2"),
        (rule().replace("a=b", "[]"), "match: should not be empty"),
        (rule().replace("a=b", "'a=~\".*\", b!=c'"), "match: holds for an alert without labels"),
        (rule().replace("a=b", "'{}'"), "match: column 1: no matcher"),
        (rule().replace("target: t", "target: "), "'target' has no value"),
        (rule().replace(STEP, "[]"), "'steps' is missing"),
        (rule().replace("/bin/true", ""), "argv: should not be empty"),
        (rule().replace("{argv: [/bin/true]}", "null"), "'command' needs its parameters"),
        (rule().replace("]}}", "]}, verify: }"), "'verify' needs resolved_within, probe or both"),
        (rule().replace("]}}", "]}, verify: {probe: }}"), "'verify' needs resolved_within, probe or both"),
        (rule().replace("]}}", "]}, verify: {probe: {}}}"), "exactly one of tcp, http, command and promql, not none"),
        (
            rule().replace("]}}", "]}, verify: {probe: {tcp: 'h:1', http: 'http://h/'}}}"),
            "exactly one of tcp, http, command and promql, not tcp and http",
        ),
        (rule().replace("]}}", "]}, verify: {probe: {tcp: 'h'}}}"), "tcp: 'h' is not HOST:PORT"),
        (
            rule().replace("]}}", "]}, verify: {probe: {command: {argv: ['{{ labels.x }}']}}}}"),
            "argv: the program must be literal",
        ),
        (
            rule().replace("]}}", "]}, verify: {probe: {http: {url: 'http://h/', status: 99}}}}"),
            "status: should be greater than or equal to 100",
        ),
        (
            rule().replace("command: {argv: [/bin/true]}", f"http: {{url: 'http://h/', json: {{n: [{2**63}]}}}}"),
            "json: 9223372036854775808 does not fit 64 bits",
        ),
        (
            rule().replace("]}}", "]}, verify: {probe: {tcp: 'h:1', within: 0s}}}"),
            "within: must be longer than 0s",
        ),
    ],
)
def test_each_fault_says_what_is_wrong(tmp_path: Path, text: str, fault: str) -> None:
    """One fault, at a line and a column, in words for the author of the rule."""
    found = faults(tmp_path, text)
    assert len(found) == 1, found
    assert fault in found[0]
    assert found[0].split(":")[0].isdigit()


@pytest.mark.parametrize(
    "text",
    [
        rule().replace("a=b", "password=x"),
        rule("protect: ['password=~\".+\"']"),
        rule("allow_target: x").replace("target: t", "target: '{{ labels.password }}'"),
        rule().replace("/bin/true", "/x, '{{ annotations[\"password\"] }}'"),
        rule().replace("version: 1", "version: 1\nprotect: [password=x]"),
    ],
)
def test_a_rule_cannot_use_what_is_redacted(tmp_path: Path, text: str) -> None:
    """A matcher or template on a redacted name would never see its value: it is a fault, not a silence."""
    assert faults(tmp_path, text) == []
    (found,) = faults(tmp_path, text, redact=frozenset({"password"}))
    assert "'password' is redacted (AUTOHEAL_REDACT)" in found


def test_aliases_are_followed(tmp_path: Path) -> None:
    """Anchors let rules share steps."""
    text = "version: 1\nrules:\n  - {name: a, match: a=b, target: t, steps: &s [{command: {argv: [/x]}}]}\n"
    rules = loaded(tmp_path, text + "  - {name: b, match: a=c, target: t, steps: *s}\n")
    assert rules.rules[0].steps == rules.rules[1].steps or len(rules.rules[1].steps) == 1


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    return folder


def test_a_folder_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    """Only *.yaml and *.yml files that are not hidden; what stands once may stand in any of them."""
    folder = write(
        tmp_path,
        b_yml=rule(name="second"),
        a_yaml=rule(name="first").replace("/bin/true", "'{{ secret.T }}'"),
        c_yaml="version: 1\nsecrets: {T: /t}\ndefaults: {mode: live}\nrules: []\n",
        d_txt="no rules",
    )
    (folder / ".hidden.yaml").write_text("no rules")
    rules = load(folder, actions=ACTIONS)
    assert [(found.name, found.mode) for found in rules.rules] == [("first", Mode.LIVE), ("second", Mode.LIVE)]
    assert list(rules.texts) == ["a.yaml", "b.yml", "c.yaml"]


def test_faults_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    """Names of rules are unique over all files, and so are the keys that stand once."""
    folder = write(
        tmp_path,
        a_yaml=rule(name="x") + "budget: [1/1h]\n",
        b_yaml=rule(name="x") + "budget: [2/1h]\n",
        c_yaml="a: [",
    )
    (folder / "d.yaml").write_bytes(b"\xef\xbb\xbfa: 1\r\n\xc3\xa9: \xff")
    with pytest.raises(ConfigError) as caught:
        load(folder, actions=ACTIONS)
    assert [str(fault).replace(f"{folder}/", "") for fault in caught.value.faults] == [
        "b.yaml:3:12: duplicate rule name 'x': it stands at a.yaml:3:12",
        "b.yaml:4:1: 'budget' stands at a.yaml:4:1 already: only one file may have it",
        "c.yaml:1:5: not YAML: while parsing a flow node expected the node content, but found '<stream end>'",
        "d.yaml:2:4: byte 14 (0xff) is not UTF-8",
    ]


def test_what_cannot_be_read_is_told_by_its_path(tmp_path: Path) -> None:
    """A missing file, a folder without rules."""
    with pytest.raises(ConfigError, match=r"nope\.yaml: cannot be read: No such file or directory"):
        load(tmp_path / "nope.yaml", actions=ACTIONS)
    with pytest.raises(ConfigError, match=r"no \*.yaml or \*.yml file in this folder"):
        load(tmp_path, actions=ACTIONS)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_told_by_its_path(tmp_path: Path) -> None:
    """Permission denied is a fault like others."""
    (tmp_path / "a.yaml").touch(mode=0)
    with pytest.raises(ConfigError, match=r"a\.yaml: cannot be read: Permission denied"):
        load(tmp_path, actions=ACTIONS)


def test_the_digest_is_of_names_and_texts(tmp_path: Path) -> None:
    """The same texts have the same digest wherever they lie; a changed byte or name has another."""
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    first, second = loaded(one, rule()), loaded(two, rule())
    assert first.digest == second.digest
    assert len(first.digest) == 64
    assert first.texts == {"rules.yaml": rule()}
    assert loaded(two, rule() + " ").digest != first.digest
    (two / "other.yaml").write_text(rule())
    assert load(two / "other.yaml", actions=ACTIONS).digest != first.digest
