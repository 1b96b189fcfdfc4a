"""What a step may say: faults of the file, each in its place, and labels that make no plan."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from autoheal.actions import builtin
from autoheal.errors import ConfigError, RenderError
from autoheal.model import Alert, AlertStatus
from autoheal.rules import load, plan

PARAMS = {name: action.Params for name, action in builtin(ssh_hosts=["db*"]).items()}
RULE = """\
version: 1
secrets: {token: /run/secrets/token}
rules:
  - name: fix
    match: alertname="Down"
    target: '{{ labels.name }}'
    steps:
      - STEP
"""


def planned(folder: Path, step: str, **labels: str) -> dict[str, Any]:
    """The rendered parameters of `step`."""
    (folder / "rules.yaml").write_text(RULE.replace("STEP", step))
    (rule,) = load(folder / "rules.yaml", actions=PARAMS).rules
    alert = Alert(AlertStatus.FIRING, "f", {"alertname": "Down", "name": "api-1", "ns": "shop", **labels}, {}, 0.0)
    params: dict[str, Any] = plan(rule, alert)["steps"][0]["params"]
    return {name: value for name, value in params.items() if value is not None}


@pytest.mark.parametrize(
    ("step", "params"),
    [
        ("docker: {restart: '{{ target }}'}", {"restart": "api-1", "timeout": 60.0}),
        (
            "docker: {kill: 'db_{{ target }}', signal: sigrtmin+3, host: 'tcp://proxy:2375', timeout: 5s}",
            {"kill": "db_api-1", "signal": "RTMIN+3", "host": "tcp://proxy:2375", "timeout": 5.0},
        ),
        ("systemd: {reload: '{{ target }}.service'}", {"reload": "api-1.service", "timeout": 60.0}),
        (
            "ssh: {host: 'db-{{ target }}', argv: [fix, '{{ secret.token }}'], user: ops, port: 22, known_hosts: /k}",
            {
                "host": "db-api-1",
                "argv": ["fix", "⟦secret:token⟧"],
                "user": "ops",
                "port": 22,
                "known_hosts": "/k",
                "timeout": 60.0,
            },
        ),
        (
            "kubernetes: {rollout_restart: 'deployment/{{ target }}', namespace: '{{ labels.ns }}', wait: true}",
            {"rollout_restart": "deployment/api-1", "namespace": "shop", "wait": True, "timeout": 60.0},
        ),
        (
            "kubernetes: {scale: statefulset/db, namespace: shop, by: -1, min: 2, context: prod, timeout: 5m}",
            {
                "scale": "statefulset/db",
                "namespace": "shop",
                "by": -1,
                "min": 2,
                "wait": False,
                "context": "prod",
                "timeout": 300.0,
            },
        ),
        ("docker: {stop: db, stop_timeout: 1m}", {"stop": "db", "stop_timeout": 60.0, "timeout": 60.0}),
    ],
)
def test_a_step_becomes_a_plan(tmp_path: Path, step: str, params: dict[str, Any]) -> None:
    """As it is written, templates filled in."""
    assert planned(tmp_path, step) == params


@pytest.mark.parametrize(
    ("step", "fault"),
    [
        ("docker: {}", "8:17: docker: needs exactly one of restart, start, stop, kill, unpause, not none"),
        ("docker: {start: a1, stop: a1}", "8:17: docker: needs exactly one of restart, start, stop, kill, unpause,"),
        ("docker: {restart: a1, signal: TERM}", "8:17: docker: `signal` goes with `kill` alone"),
        ("docker: {kill: a1, stop_timeout: 1s}", "8:17: docker: `stop_timeout` goes with `restart` and `stop` alone"),
        ("docker: {kill: a1, signal: BOGUS}", "8:36: signal: 'BOGUS' is not a signal's name, such as TERM"),
        ("docker: {kill: a1, signal: 15}", "8:36: signal: '15' is not a signal's name"),
        ("docker: {stop: a1, stop_timeout: 500ms}", "8:42: stop_timeout: the Engine counts whole seconds"),
        ("docker: {stop: a/b}", "8:24: stop: 'a/b' cannot be a container's name or id"),
        ("docker: {stop: '{{ secret.token }}'}", "8:24: stop: secrets can be used"),
        ("docker: {stop: a1, host: '{{ labels.h }}:2375'}", "8:34: host: must be literal: a label must not choose it"),
        ("docker: {stop: a1, host: 'ssh://h'}", "8:34: host: 'ssh://h' does not begin with unix://, tcp:// or https"),
        (
            "systemd: {restart: a, stop: a}",
            "8:18: systemd: needs exactly one of restart, start, stop, reload, not restart",
        ),
        ("systemd: {restart: 'web-*'}", "8:28: restart: 'web-*' is not a unit's name (patterns and paths are refused)"),
        (
            "systemd: {start: reboot.target}",
            "8:26: start: 'reboot.target' is a target: only units of the types service",
        ),
        ("systemd: {start: systemd-halt}", "8:26: start: 'systemd-halt' would end or take over the machine"),
        ("ssh: {host: db1}", "8:14: 'argv' is missing"),
        (
            "ssh: {host: web1, argv: [id]}",
            "8:21: host: host 'web1' is not allowed: AUTOHEAL_SSH_HOSTS says which hosts",
        ),
        (
            "ssh: {host: -oProxyCommand=id, argv: [id]}",
            "8:21: host: '-oProxyCommand=id' is not a host's name or address",
        ),
        ("ssh: {host: db1, argv: ['{{ labels.x }}']}", "argv: the program must be literal"),
        (
            "ssh: {host: db1, argv: [id], user: '{{ labels.x }}'}",
            "8:44: user: must be literal: a label must not choose it",
        ),
        ("ssh: {host: db1, argv: [id], user: -x}", "8:44: user: '-x' cannot be a user's name"),
        ("ssh: {host: db1, argv: [id], port: 0}", "8:44: port: should be greater than or equal to 1"),
        (
            "ssh: {host: db1, argv: [id], identity_file: ~/.ssh/id}",
            "8:53: identity_file: '~/.ssh/id' must be an absolute",
        ),
        (
            "kubernetes: {namespace: a}",
            "needs exactly one of rollout_restart, scale, delete_pod, evict, cordon, not none",
        ),
        (
            "kubernetes: {evict: a, cordon: a}",
            "needs exactly one of rollout_restart, scale, delete_pod, evict, cordon, not",
        ),
        ("kubernetes: {evict: a}", "8:21: kubernetes: `evict` needs a `namespace`"),
        ("kubernetes: {cordon: a, namespace: b}", "`namespace` does not go with `cordon`: nodes have none"),
        ("kubernetes: {cordon: a, wait: true}", "`wait` does not go with `cordon`: it is done at once"),
        ("kubernetes: {cordon: a, wait: 1}", "wait: should be true or false, not"),
        (
            "kubernetes: {evict: '*', namespace: a}",
            "8:29: evict: '*' cannot be a name: lower case letters, digits, - and .",
        ),
        ("kubernetes: {evict: a, namespace: '*'}", "8:43: namespace: '*' cannot be a namespace: lower case letters"),
        (
            "kubernetes: {rollout_restart: api, namespace: a}",
            "'api' is not KIND/NAME with a kind of deployment, stateful",
        ),
        (
            "kubernetes: {rollout_restart: pod/a, namespace: a}",
            "'pod/a' is not KIND/NAME with a kind of deployment, state",
        ),
        ("kubernetes: {rollout_restart: deployment/, namespace: a}", "'' cannot be a name"),
        (
            "kubernetes: {scale: daemonset/a, namespace: a, replicas: 1}",
            "is not KIND/NAME with a kind of deployment, state",
        ),
        (
            "kubernetes: {scale: deployment/a, namespace: a}",
            "`scale` needs either `replicas`, a number, or `by`, a differ",
        ),
        (
            "kubernetes: {scale: deployment/a, namespace: a, replicas: 1, by: 1}",
            "`scale` needs either `replicas`, a number",
        ),
        (
            "kubernetes: {scale: deployment/a, namespace: a, replicas: 1, max: 1}",
            "`min` and `max` go with `by`: `replicas`",
        ),
        (
            "kubernetes: {scale: deployment/a, namespace: a, by: 1}",
            "to scale up by a number needs a `max`, and no `min`",
        ),
        ("kubernetes: {scale: deployment/a, namespace: a, by: 1, max: 3, min: 1}", "needs a `max`, and no `min`"),
        (
            "kubernetes: {scale: deployment/a, namespace: a, by: -1}",
            "to scale down by a number needs a `min`, and no `max`",
        ),
        ("kubernetes: {scale: deployment/a, namespace: a, by: -1, min: 0, max: 3}", "needs a `min`, and no `max`"),
        ("kubernetes: {scale: deployment/a, namespace: a, by: 0, max: 3}", "by: 0 changes nothing"),
        (
            "kubernetes: {scale: deployment/a, namespace: a, replicas: -1}",
            "replicas: should be greater than or equal to 0",
        ),
        (
            "kubernetes: {evict: a, namespace: a, replicas: 1}",
            "`replicas`, `by`, `min` and `max` go with `scale` alone",
        ),
        ("kubernetes: {cordon: a, context: '{{ labels.c }}'}", "context: must be literal: a label must not choose it"),
        (
            "kubernetes: {cordon: a, context: ''}",
            "context: is empty: leave it out for the kubeconfig's current context",
        ),
        ("docker: {pause: a1}", "8:18: unknown key 'pause': did you mean 'unpause'?"),
    ],
)
def test_a_wrong_step_is_a_fault_of_the_file(tmp_path: Path, step: str, fault: str) -> None:
    """With line, column and what to write instead."""
    with pytest.raises(ConfigError) as caught:
        planned(tmp_path, step)
    assert fault in str(caught.value).removeprefix(f"{tmp_path}/rules.yaml:")


@pytest.mark.parametrize("name", ["../images", "a b", "a?force=true", "-a", "a\n", "", "a%2f"])
def test_a_label_that_names_no_container_makes_no_plan(tmp_path: Path, name: str) -> None:
    """The decision is then `bad_target`, in a dry run as well."""
    with pytest.raises(RenderError, match=r"steps\[0\]\.docker\.restart: .*cannot be a container's name or id"):
        planned(tmp_path, "docker: {restart: '{{ labels.x }}'}", x=name)


@pytest.mark.parametrize("name", ["../nodes", "a b", "a?dryRun=All", "-a", "a\n", "", "*", "a,b", "API"])
def test_a_label_that_names_no_object_makes_no_plan(tmp_path: Path, name: str) -> None:
    """Neither as a name nor as a namespace."""
    with pytest.raises(RenderError, match=r"steps\[0\]\.kubernetes\.evict: .* cannot be a name: "):
        planned(tmp_path, "kubernetes: {evict: '{{ labels.x }}', namespace: a}", x=name)
    with pytest.raises(RenderError, match=r"steps\[0\]\.kubernetes\.namespace: .* cannot be a namespace: "):
        planned(tmp_path, "kubernetes: {evict: a, namespace: '{{ labels.x }}'}", x=name)


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("web1", "host 'web1' is not allowed: AUTOHEAL_SSH_HOSTS says which hosts are"),
        ("-oProxyCommand=id", "'-oProxyCommand=id' is not a host's name or address"),
    ],
)
def test_a_label_that_names_no_allowed_host_makes_no_plan(tmp_path: Path, host: str, why: str) -> None:
    """A dry run shows what a live run would be refused."""
    with pytest.raises(RenderError, match=re.escape(f"steps[0].ssh.host: {why}")):
        planned(tmp_path, "ssh: {host: '{{ labels.x }}', argv: [id]}", x=host)
