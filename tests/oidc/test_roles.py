"""What somebody may do, by what the provider says."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from autoheal.model import Role
from autoheal.oidc.roles import Roles

MAP = {"look": Role.VIEWER, "sre": Role.OPERATOR, "lead": Role.APPROVER, "root": Role.ADMIN}
AUTH0 = "https://example.org/roles"


@pytest.mark.parametrize(
    ("path", "claims", "role"),
    [
        (("roles",), {"roles": ["sre"]}, Role.OPERATOR),
        (("roles",), {"roles": ["look", "lead", "sre", "other"]}, Role.APPROVER),
        (("roles",), {"roles": "root"}, Role.ADMIN),
        (("roles",), {"roles": "sre root"}, None),
        (("roles",), {"roles": []}, None),
        (("roles",), {"roles": ["SRE"]}, None),
        (("roles",), {"roles": ["operator", "admin"]}, None),
        (("roles",), {}, None),
        (("roles",), {"roles": None}, None),
        (("roles",), {"roles": {"root": True}}, None),
        (("roles",), {"roles": ["root", 1]}, None),
        (("roles",), {"roles": [["root"]]}, None),
        (("roles",), {"roles": 1}, None),
        (("roles",), {"roles": True}, None),
        (("realm_access", "roles"), {"realm_access": {"roles": ["sre"]}}, Role.OPERATOR),
        (("realm_access", "roles"), {"realm_access": ["roles"]}, None),
        (("realm_access", "roles"), {"realm_access": "roles", "roles": ["root"]}, None),
        (("realm_access", "roles"), {"realm_access.roles": ["root"]}, None),
        (("resource_access", "a.b", "roles"), {"resource_access": {"a.b": {"roles": ["lead"]}}}, Role.APPROVER),
        ((AUTH0,), {AUTH0: ["root"]}, Role.ADMIN),
        (("scope",), {"scope": "openid sre"}, Role.OPERATOR),
        (("scope",), {"scope": "openid sre-lead"}, None),
        (("scp",), {"scp": "look sre"}, Role.OPERATOR),
        (("scp",), {"scp": ["look", "lead"]}, Role.APPROVER),
    ],
)
def test_the_highest_role_that_is_mapped(path: tuple[str, ...], claims: dict[str, Any], role: Role | None) -> None:
    """Whole values count, and only those of the map; a claim of another type says nothing."""
    assert Roles(path, MAP).of(claims) is role


def test_without_a_map_everybody_is_an_operator() -> None:
    """And nobody more, whatever the token says."""
    assert Roles(("roles",), None).of({"roles": ["admin", "root"]}) is Role.OPERATOR


@pytest.mark.parametrize(
    ("path", "claims", "told"),
    [
        (("groups",), {"_claim_names": {"groups": "src1"}}, True),
        (("groups",), {"hasgroups": "true"}, True),
        (("groups",), {"_claim_names": {"address": "src1"}}, False),
        (("groups",), {"_claim_names": "groups"}, False),
        (("groups",), {}, False),
        (("groups",), {"groups": ["sre"], "_claim_names": {"groups": "src1"}}, False),
    ],
)
def test_groups_that_were_left_out_are_told_of(path: tuple[str, ...], claims: dict[str, Any], *, told: bool) -> None:
    """Entra ID's overage gives no role, and whoever wonders why finds it in the log."""
    with capture_logs() as logs:
        role = Roles(path, MAP).of(claims)
    assert [entry["event"] for entry in logs] == (["roles_not_in_token"] if told else [])
    assert (role is None) == ("groups" not in claims)


def test_roles_include_those_below() -> None:
    """A comparison is all that a route needs."""
    assert Role.SENDER < Role.VIEWER < Role.OPERATOR < Role.APPROVER < Role.ADMIN
    assert [role.label for role in Role] == ["sender", "viewer", "operator", "approver", "admin"]
