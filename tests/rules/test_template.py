from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoheal.errors import RenderError
from autoheal.rules.address import check_url
from autoheal.rules.environment import Names, Secrets
from autoheal.rules.template import MAX_NESTING, OF_PARAMS, OF_PROBE, OF_TARGET, Flavour, Template

ODD_NAMES = ["items", "get", "keys", "values", "look", "_values", "__class__", "copy", "upper", "if", "None"]


def template(source: str, flavour: Flavour = Flavour.TEXT, names: frozenset[str] = OF_PARAMS) -> Template:
    return Template(source, flavour, names)


def render(source: str, flavour: Flavour = Flavour.TEXT, *, redact: frozenset[str] = frozenset(), **labels: str) -> str:
    values: dict[str, Any] = {
        "labels": Names("label", labels, redact),
        "annotations": Names("annotation", {"summary": "s"}, redact),
        "alertname": "Down",
        "fingerprint": "f1",
        "target": "t1",
        "secret": Secrets(),
    }
    return template(source, flavour).render(values)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("plain { text }", "plain { text }"),
        ("{{ labels.x }}", "web-1:80"),
        ('{{ labels["x"] }}', "web-1:80"),
        ("{{ alertname }}/{{ fingerprint }}/{{ target }}/{{ annotations.summary }}", "Down/f1/t1/s"),
        ('{{ labels.x.split(":")[0] }}', "web-1"),
        ("{{ labels.x[:3] }}", "web"),
        ("{{ labels.x | upper }}", "WEB-1:80"),
        ('{{ labels.y | default("none") }}', "none"),
        ("{% if labels.y is defined %}a{% else %}b{% endif %}", "b"),
        ('{{ "a" if labels.x == "web-1:80" else "b" }}', "a"),
        ("{{ labels.x.split(':')[1] | int + 1 }}", "81"),
        ("{{ labels.x | tojson }}", '"web-1:80"'),
        ("{{ labels.x ~ '!' }}{# a comment #}\n", "web-1:80!\n"),
        ("{{ secret.TOKEN }}", "⟦secret:TOKEN⟧"),
    ],
)
def test_a_template_has_the_value_that_its_author_expects(source: str, text: str) -> None:
    """Labels by dot or bracket, the other names, string methods, slices, the filters, if."""
    assert render(source, x="web-1:80") == text


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_label_may_have_any_name(name: str) -> None:
    """A label called like a Python attribute or keyword is that label, and when it is absent it is nothing else."""
    assert render(f'{{{{ labels["{name}"] }}}}', **{name: "v"}) == "v"
    assert render(f"{{{{ labels.{name} }}}}", **{name: "v"}) == "v"
    with pytest.raises(RenderError, match="is not set"):
        render(f"{{{{ labels.{name} }}}}")


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("{{ labels.x", "is not a template"),
        ("{{ lables.x }}", "unknown name 'lables'"),
        ("{{ labels }}", "write labels.NAME"),
        ("{{ labels.x | random }}", "unknown filter 'random'"),
        ("{% if false %}{{ labels.x | nonsense }}{% endif %}", "unknown filter 'nonsense'"),
        ("{% if labels.x is callable %}{% endif %}", "unknown test 'callable'"),
        ("{% for c in labels.x %}{% endfor %}", "templates have no for"),
        ("{% set x = 1 %}", "templates have no assign"),
        ("{% include 'x' %}", "templates have no include"),
        ("{{ 'a' * 9 }}", "templates have no mul"),
        ("{{ 2 ** 9 }}", "templates have no pow"),
        ("{{ labels.x.format(1) }}", "only these can be called"),
        ("{{ labels.x.__class__ }}", "unknown attribute '__class__'"),
        ("{{ labels.get('x') }}", "only these can be called"),
        ("{{ range(9) }}", "only these can be called"),
        ("{{ ''.__class__.__mro__ }}", "unknown attribute"),
        ("{{ secret.A | upper }}", "a secret stands alone"),
        ("{{ 'x' ~ secret.A }}", "a secret stands alone"),
        ("{{ secret[labels.x] }}", "a secret stands alone"),
        ("{% if secret.A == 'x' %}{% endif %}", "a secret stands alone"),
        ("{{ secret }}", "a secret stands alone"),
        ("⟦secret:A⟧", "reserved for secrets"),
        ("{{ '\\u27e6' }}", "reserved for secrets"),
        ("a\0b", "NUL"),
        ("{{ labels.x.upper(**labels) }}", "one by one"),
        ("{{ labels.x.upper(*[secret.A]) }}", "one by one"),
        ("{{ labels.x.split(maxsplit=1, maxsplit=2) }}", "keyword argument repeated"),
        ("{{ " + "(" * 2000 + "1" + ")" * 2000 + " }}", "nested too deeply"),
        ("{{ labels.x" + "[0]" * 50 + " }}", "nested too deeply"),
        ("{{ labels.x" + "|upper" * 250 + " }}", "nested too deeply"),
        ("{% if true %}" * 100 + "{% endif %}" * 100, "nested too deeply"),
    ],
)
def test_what_is_wrong_with_a_template_is_told_at_load(source: str, what: str) -> None:
    """Syntax, names, filters, tests, statements, calls, attributes and secrets out of place."""
    with pytest.raises(ValueError, match=what):
        template(source)


@pytest.mark.parametrize("link", [".upper()", "|upper", "[0]", "[0:]", "|replace('a','b')"])
def test_what_is_nested_less_than_the_limit_can_be_compiled(link: str) -> None:
    """The limit is reached before Python's own on what Jinja makes of it, whatever the template is made of."""
    longest = 0
    for times in range(MAX_NESTING):
        source = f"{{% if labels.x %}}{{{{ labels.x{link * times} if labels.x }}}}{{% endif %}}"
        try:
            template(source)
        except ValueError as error:
            assert "nested too deeply" in str(error)  # noqa: PT017 the short ones are fine
        else:
            longest = times
    assert longest >= 15


@pytest.mark.parametrize(
    ("source", "names", "what"),
    [
        ("{{ target }}", OF_TARGET, "cannot be used in the target itself"),
        ("{{ secret.A }}", OF_TARGET, "parameters of a step alone"),
        ("{{ secret.A }}", OF_PROBE, "parameters of a step alone"),
    ],
)
def test_some_names_have_their_places(source: str, names: frozenset[str], what: str) -> None:
    """The target cannot name itself; secrets are for parameters of steps."""
    with pytest.raises(ValueError, match=what):
        template(source, names=names)


@pytest.mark.parametrize(
    ("source", "labels", "what"),
    [
        ("{{ labels.x }}", {}, "label 'x' is not set"),
        ("{{ annotations.x }}", {}, "annotation 'x' is not set"),
        ("{{ labels.x }}", {"x": "a\0b"}, "NUL"),
        ("{{ labels.x }}", {"x": "⟦secret:A⟧"}, "reserved for secrets"),
        ("{{ labels.x }}", {"x": "⟧"}, "reserved for secrets"),
        ("{{ labels.x }}", {"x": "\ud800"}, "not valid Unicode"),
        ("{{ labels.x.split(':') }}", {"x": "a"}, "must be text or a number"),
        ("{{ labels.x == 'a' }}", {"x": "a"}, "must be text or a number"),
        ("{{ labels.x.split(':')[1] }}", {"x": "a"}, "there is no part 1"),
        ("{{ labels.x - 1 }}", {"x": "a"}, "has no value"),
        ("{{ labels[labels.x] }}", {"x": "y"}, "label 'y' is not set"),
    ],
)
def test_a_value_that_cannot_be_used_is_an_error_that_names_it(source: str, labels: dict[str, str], what: str) -> None:
    """Unknown labels, NUL, forged markers, lone surrogates, lists and failing expressions never render."""
    with pytest.raises(RenderError, match=what):
        render(source, **labels)


@given(st.text(), st.sampled_from(Flavour))
def test_any_label_has_a_value_or_an_error(value: str, flavour: Flavour) -> None:
    """Whatever a label holds, rendering it yields text or RenderError."""
    sources = {
        Flavour.TEXT: "x {{ labels.x }} {{ labels.x | int }}",
        Flavour.ARGUMENT: "{{ labels.x }}",
        Flavour.URL: "http://h/{{ labels.x }}?q={{ labels.x }}",
        Flavour.ENDPOINT: "{{ labels.x }}:80",
        Flavour.PROMQL: 'up{x=~"{{ labels.x }}"}',
    }
    try:
        text = render(sources[flavour], flavour, x=value)
    except RenderError:
        return
    assert "⟦" not in text
    if flavour is Flavour.ARGUMENT:
        assert not text.startswith("-")


def test_a_redacted_label_cannot_be_reached_by_its_computed_name() -> None:
    """`labels[expression]` is judged when it is rendered."""
    with pytest.raises(RenderError, match="is redacted"):
        render("{{ labels[labels.x] }}", x="password", password="p", redact=frozenset({"password"}))


def test_what_a_template_refers_to_is_known_statically() -> None:
    """Labels and annotations by constant names, secrets, and the alert's name."""
    references = template("{{ labels.a }}{{ annotations['b'] }}{{ alertname }}{{ secret.S }}").references
    assert references.labels == {"a", "b", "alertname"}
    assert references.secrets == {"S"}


@pytest.mark.parametrize(
    ("source", "value", "fine"),
    [
        ("{{ labels.x }}", "-rf", False),
        ("{{ labels.x }}{{ labels.x }}", "-", False),
        ("{# c #}{{ labels.x }}", "-rf", False),
        ("{% if true %}{{ labels.x }}{% endif %}", "-rf", False),
        ("{{ labels.x }}", "a-rf", True),
        ("--name={{ labels.x }}", "-rf", True),
        ("-{{ labels.x }}", "rf", True),
        ("-rf", "", True),
    ],
)
def test_a_label_cannot_become_an_option(source: str, value: str, *, fine: bool) -> None:
    """An argument that begins with a placeholder must not begin with `-` (CWE-88); what its author wrote may."""
    if fine:
        assert render(source, Flavour.ARGUMENT, x=value) == source.replace("{{ labels.x }}", value)
    else:
        with pytest.raises(RenderError, match="would become an option"):
            render(source, Flavour.ARGUMENT, x=value)


@pytest.mark.parametrize(
    ("source", "value", "url"),
    [
        ("http://{{ labels.x }}/restart", "10.0.0.1:9100", "http://10.0.0.1:9100/restart"),
        ("http://{{ labels.x }}/restart", "[::1]:9100", "http://[::1]:9100/restart"),
        ("https://h/{{ labels.x }}", "a/../b?c#d@e\\f g", "https://h/a%2F..%2Fb%3Fc%23d%40e%5Cf%20g"),
        ("https://h/?q={{ labels.x }}", "é&x=1", "https://h/?q=%C3%A9%26x%3D1"),
        ("https://h/{{ secret.T }}", "", "https://h/⟦secret:T⟧"),
        ("{{ secret.T }}", "", "⟦secret:T⟧"),
    ],
)
def test_a_label_stays_in_its_place_in_a_url(source: str, value: str, url: str) -> None:
    """Placeholders are percent-encoded but for colons and square brackets, which addresses need."""
    assert render(source, Flavour.URL, x=value) == url


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("http://{{ labels.x }}/", "good@evil.example"),
        ("http://{{ labels.x }}/", "evil.example/"),
        ("http://{{ labels.x }}/", ""),
        ("http://{{ labels.x }}:80/", "evil:1"),
        ("http://h:{{ labels.x }}/", "99999"),
        ("http://h:{{ labels.x }}/", "0"),
        ("http://h/api/{{ labels.x }}/restart", ".."),
        ("http://h/api/%2E{{ labels.x }}/restart", "."),
        ("{{ labels.x }}", "http://evil.example/"),
        ("{{ labels.x }}://h/", "ftp"),
        ("http://{{ labels.x }}/", "bücher.example"),
    ],
)
def test_a_url_that_a_label_would_bend_is_refused(source: str, value: str) -> None:
    """No user part, no other host or scheme, no dot segments, no impossible ports."""
    with pytest.raises(RenderError):
        render(source, Flavour.URL, x=value)


@pytest.mark.parametrize("source", ["ftp://h/", "http:///x", "http://u:p@h/", "http://h/a b", "http://h/\n", "h/x"])
def test_a_literal_url_is_checked_at_load(source: str) -> None:
    """What no alert can make right is told before there is one."""
    with pytest.raises(ValueError, match=r"URL|http|host"):
        template(source, Flavour.URL)


def test_a_revealed_url_can_be_checked_again() -> None:
    """A secret's file may hold anything: a line break must not reach the HTTP client."""
    check_url("https://hooks.example/T0/B0/xyz")
    with pytest.raises(RenderError, match="white space"):
        check_url("https://hooks.example/T0\r\nHost: evil")


@pytest.mark.parametrize(
    ("value", "fine"),
    [("10.0.0.1:22", True), ("[::1]:22", True), ("db-1:5432", True)]
    + [(bad, False) for bad in ("db-1", "db-1:", ":22", "db-1:0", "db-1:65536", "db 1:22", "db-1:22\n", "a:b:22")],
)
def test_an_endpoint_is_a_host_and_a_port(value: str, *, fine: bool) -> None:
    """Names, IPv4 and bracketed IPv6 with a port from 1 to 65535."""
    if fine:
        assert render("{{ labels.x }}", Flavour.ENDPOINT, x=value) == value
    else:
        with pytest.raises(RenderError, match="is not HOST:PORT"):
            render("{{ labels.x }}", Flavour.ENDPOINT, x=value)
