"""The kubernetes action, with a server that has the rules of a Kubernetes API server."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from autoheal.actions import ACTIONS, Context, Kubernetes, Outcome
from tests.support.clock import FakeClock
from tests.support.kubernetes import kubeconfig, kubernetes
from tests.support.kubernetes_rules import Cluster
from tests.support.looping import run_on
from tests.support.pki import Pki

DOCS = Path(__file__).parents[2] / "docs" / "actions.md"
WORKLOADS = {"deployments": "deployment", "statefulsets": "statefulset", "daemonsets": "daemonset"}
STEPS: dict[str, dict[str, Any]] = {
    "rollout_restart": {"rollout_restart": "deployment/api", "namespace": "shop"},
    "scale": {"scale": "deployment/api", "namespace": "shop", "replicas": 5},
    "delete_pod": {"delete_pod": "api-1", "namespace": "shop"},
    "evict": {"evict": "api-1", "namespace": "shop"},
    "cordon": {"cordon": "node-1"},
}
Do = Callable[..., Any]


class HastyClock(FakeClock):
    """Whoever sleeps moves it on at once."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self._monotonic += seconds


def furnish(cluster: Cluster) -> None:
    """One of each, all well."""
    status = {"replicas": 3, "updatedReplicas": 3, "availableReplicas": 3, "readyReplicas": 3, "observedGeneration": 1}
    for resource in ("deployments", "statefulsets"):
        cluster.add(resource, "api", spec={"replicas": 3}, status=dict(status))
    counts = {"desiredNumberScheduled": 2, "updatedNumberScheduled": 2, "numberAvailable": 2, "observedGeneration": 1}
    cluster.add("daemonsets", "api", status=counts)
    for number in (1, 2, 3):
        cluster.add(
            "pods",
            f"api-{number}",
            spec={"nodeName": "node-1"},
            status={
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [{"restartCount": 4}, {"restartCount": 3}],
            },
            metadata={"ownerReferences": [{"kind": "ReplicaSet", "name": "api", "controller": True}]},
        )
    cluster.add("nodes", "node-1", None, status={"conditions": [{"type": "Ready", "status": "False"}]})


@pytest.fixture
async def cluster(pki: Pki) -> AsyncIterator[Cluster]:
    async with kubernetes(pki) as made:
        furnish(made)
        yield made


@pytest.fixture
def clock() -> HastyClock:
    return HastyClock()


@pytest.fixture
def action(cluster: Cluster, pki: Pki, tmp_path: Path) -> Kubernetes:
    return Kubernetes(kubeconfig(tmp_path, cluster, pki))


@pytest.fixture
def do(action: Kubernetes, context: Context, clock: HastyClock) -> Do:
    """Carry out a step, or with `rehearsal` only rehearse it."""
    here = dataclasses.replace(context, clock=clock)

    async def carry_out(*, rehearsal: bool = False, **params: Any) -> Outcome:
        return await (action.rehearse if rehearsal else action.run)(params, here)

    return carry_out


@pytest.mark.parametrize("resource", WORKLOADS)
async def test_a_rollout_is_restarted(cluster: Cluster, do: Do, resource: str) -> None:
    """By the annotation that kubectl sets; how it was and how it is are recorded, and where."""
    outcome = await do(rollout_restart=f"{WORKLOADS[resource]}/api", namespace="shop")
    assert outcome.ok, outcome
    made = cluster.objects[resource, "shop", "api"]
    stamp = made["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"]
    assert stamp == "2026-09-21T14:13:20Z"
    count = 2 if resource == "daemonsets" else 3
    seen = {"replicas": count, "updated": count, "available": count, "generation": 1}
    assert outcome.detail == {
        "cluster": cluster.url,
        "before": seen,
        "after": seen | {"generation": 2},
        "duration_ms": 0,
    }


@pytest.mark.parametrize(
    ("replicas", "bounds", "result"),
    [
        (3, {"replicas": 5}, 5),
        (3, {"replicas": 0}, 0),
        (3, {"replicas": 3}, None),
        (3, {"by": 2, "max": 10}, 5),
        (9, {"by": 2, "max": 10}, 10),
        (10, {"by": 2, "max": 10}, "it has 10 replicas already, and `max` is 10"),
        (12, {"by": 2, "max": 10}, "it has 12 replicas already, and `max` is 10"),
        (3, {"by": -1, "min": 1}, 2),
        (3, {"by": -5, "min": 1}, 1),
        (1, {"by": -1, "min": 1}, "it has 1 replicas already, and `min` is 1"),
        (1, {"by": -1, "min": 2}, "it has 1 replicas already, and `min` is 2"),
        (0, {"by": 2, "max": 10}, "it is scaled to 0, and `by` turns nothing on: `replicas` does"),
        (0, {"replicas": 2}, 2),
    ],
)
async def test_scaling_keeps_within_bounds(
    cluster: Cluster, do: Do, replicas: int, bounds: dict[str, int], result: int | str | None
) -> None:
    """`by` never passes its bound, nor turns back from beyond it; `replicas` is the very number."""
    cluster.objects["deployments", "shop", "api"]["spec"]["replicas"] = replicas
    outcome = await do(scale="deployment/api", namespace="shop", **bounds)
    now = cluster.objects["deployments", "shop", "api"]["spec"]["replicas"]
    if isinstance(result, str):
        assert (outcome.ok, outcome.detail["error"], now) == (False, result, replicas)
    else:
        assert outcome.ok, outcome
        assert outcome.detail["before"] == {"replicas": replicas}
        assert outcome.detail["after"] == {"replicas": now}
        assert now == (replicas if result is None else result)
        assert ("already" in outcome.detail) is (result is None)


async def test_somebody_else_scales_at_the_same_time(cluster: Cluster, do: Do, clock: HastyClock) -> None:
    """What was read has changed: it is read again, once, and computed anew; twice in a row is a conflict."""
    deployment = cluster.objects["deployments", "shop", "api"]
    interruptions = [7, 8]

    def interfere(method: str) -> None:
        if method == "PUT" and interruptions:
            deployment["spec"]["replicas"] = interruptions.pop()
            cluster.touch("deployments", "api")

    cluster.before = interfere
    outcome = await do(scale="deployment/api", namespace="shop", by=2, max=20)
    assert not outcome.ok
    assert outcome.detail["error"].startswith(
        'conflict (409): Operation cannot be fulfilled on deployments.apps "api": '
    )
    assert deployment["spec"]["replicas"] == 7
    interruptions.append(9)
    outcome = await do(scale="deployment/api", namespace="shop", by=2, max=20)
    assert outcome.ok, outcome
    assert (outcome.detail["before"], outcome.detail["after"]) == ({"replicas": 9}, {"replicas": 11})
    assert cluster.objects["deployments", "shop", "api"]["spec"]["replicas"] == 11


@pytest.mark.parametrize("verb", ["delete_pod", "evict"])
async def test_a_pod_goes(cluster: Cluster, do: Do, verb: str) -> None:
    """The very one that was seen: not another of its name. One that is going already is a success that says so."""
    outcome = await do(**STEPS[verb])
    assert outcome.ok, outcome
    assert outcome.detail["before"] == {
        "phase": "Running",
        "ready": True,
        "restarts": 7,
        "node": "node-1",
        "terminating": False,
    }
    pod = cluster.objects["pods", "shop", "api-1"]
    assert "deletionTimestamp" in pod["metadata"]
    assert outcome.detail["uid"] == pod["metadata"]["uid"]
    again = await do(**STEPS[verb])
    assert (again.ok, again.detail["already"]) == (True, True)
    assert [asked.method for asked in cluster.asked].count("GET") == 2
    assert len(cluster.asked) == 3


@pytest.mark.parametrize("verb", ["delete_pod", "evict"])
async def test_a_pod_that_was_replaced_meanwhile_is_left_alone(cluster: Cluster, do: Do, verb: str) -> None:
    """A stateful set's new pod has the name of the old one."""

    def replace(method: str) -> None:
        if method != "GET":
            cluster.objects["pods", "shop", "api-1"]["metadata"]["uid"] = "another"

    cluster.before = replace
    outcome = await do(**STEPS[verb])
    assert outcome.detail["error"].startswith('conflict (409): Operation cannot be fulfilled on pods "api-1": Precond')
    assert "deletionTimestamp" not in cluster.objects["pods", "shop", "api-1"]["metadata"]


@pytest.mark.parametrize("verb", ["delete_pod", "evict"])
@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        (
            {"ownerReferences": []},
            "it has no controller, such as a ReplicaSet: once deleted, nothing would bring it back",
        ),
        ({"ownerReferences": [{"kind": "Node"}]}, "it has no controller, such as a ReplicaSet: once deleted, nothing"),
        (
            {"annotations": {"kubernetes.io/config.mirror": "x"}},
            "it is a static pod: only the kubelet of its node can restart it",
        ),
    ],
)
async def test_a_pod_that_would_not_come_back_stays(
    cluster: Cluster, do: Do, verb: str, metadata: dict[str, Any], why: str
) -> None:
    """`kubectl drain` refuses the one and passes over the other."""
    cluster.objects["pods", "shop", "api-1"]["metadata"] |= metadata
    outcome = await do(**STEPS[verb])
    assert not outcome.ok
    assert outcome.detail["error"].startswith(why)
    assert [asked.method for asked in cluster.asked] == ["GET"]


async def test_a_disruption_budget_is_waited_for(cluster: Cluster, do: Do, clock: HastyClock) -> None:
    """The eviction is tried again every five seconds, and succeeds when another pod is ready."""
    cluster.budgets["api-pdb"] = 3

    def fourth(method: str) -> None:
        if len(clock.slept) == 3 and "api-4" not in {key[2] for key in cluster.objects}:
            cluster.add("pods", "api-4", status={"conditions": [{"type": "Ready", "status": "True"}]})

    cluster.before = fourth
    outcome = await do(**STEPS["evict"])
    assert outcome.ok, outcome
    assert (outcome.detail["attempts"], clock.slept) == (4, [5.0, 5.0, 5.0])


async def test_a_disruption_budget_that_never_allows_it_is_named(cluster: Cluster, do: Do, clock: HastyClock) -> None:
    """At the deadline, in the API's words; the pod is still there."""
    cluster.budgets["api-pdb"] = 3
    outcome = await do(**STEPS["evict"], timeout=30.0)
    assert not outcome.ok
    assert outcome.detail["error"] == (
        "not now (429): Cannot evict pod as it would violate the pod's disruption budget. "
        "The disruption budget api-pdb needs 3 healthy pods and has 3 currently"
    )
    assert (outcome.detail["attempts"], sum(clock.slept)) == (6, 25.0)
    assert "deletionTimestamp" not in cluster.objects["pods", "shop", "api-1"]["metadata"]


@pytest.mark.parametrize("another", [False, True])
async def test_a_pod_that_goes_while_its_budget_is_waited_for(
    cluster: Cluster, do: Do, clock: HastyClock, another: bool
) -> None:
    """Somebody else has deleted it, which is what was wanted; another of its name, as stateful sets make, is spared."""
    cluster.budgets["api-pdb"] = 3
    pod = ("pods", "shop", "api-1")

    def deleted(method: str) -> None:
        if len(clock.slept) == 2 and cluster.objects.get(pod) is first:
            del cluster.objects[pod]
            if another:
                cluster.add("pods", "api-1", status={"conditions": [{"type": "Ready", "status": "True"}]})

    first = cluster.objects[pod]
    cluster.before = deleted
    outcome = await do(**STEPS["evict"])
    assert outcome.ok, outcome
    assert (outcome.detail["already"], outcome.detail["attempts"]) == (True, 2)
    assert outcome.detail["uid"] == first["metadata"]["uid"]
    assert (pod in cluster.objects) is another


async def test_the_api_says_how_long_to_wait(cluster: Cluster, do: Do, clock: HastyClock) -> None:
    """A budget whose controller is behind comes with Retry-After."""
    cluster.budgets["api-pdb"] = 3
    cluster.retry_after = 20
    assert not (await do(**STEPS["evict"], timeout=50.0)).ok
    assert clock.slept == [20.0, 20.0]


async def test_two_disruption_budgets_are_an_error_of_the_cluster(cluster: Cluster, do: Do, clock: HastyClock) -> None:
    """Which time does not mend: it is not tried again."""
    cluster.budgets |= {"one": 1, "two": 1}
    outcome = await do(**STEPS["evict"])
    assert outcome.detail["error"].startswith("the API server refused (500): This pod has more than one PodDisruption")
    assert clock.slept == []


async def test_a_node_is_cordoned(cluster: Cluster, do: Do) -> None:
    """Once; then it is so already."""
    outcome = await do(cordon="node-1")
    assert outcome.ok, outcome
    assert (outcome.detail["before"], outcome.detail["after"]) == (
        {"ready": False, "unschedulable": False},
        {"ready": False, "unschedulable": True},
    )
    assert cluster.objects["nodes", None, "node-1"]["spec"] == {"unschedulable": True}
    outcome = await do(cordon="node-1")
    assert (outcome.ok, outcome.detail["already"], len(cluster.asked)) == (True, True, 3)


@pytest.mark.parametrize("verb", STEPS)
async def test_a_rehearsal_changes_nothing(cluster: Cluster, do: Do, verb: str) -> None:
    """The API goes through all of it, and answers as it would; live then finds everything as it was."""
    before = {key: dict(found["metadata"]) for key, found in cluster.objects.items()}
    outcome = await do(rehearsal=True, **STEPS[verb], wait=verb != "cordon")
    assert outcome.ok, outcome
    assert {key: found["metadata"] for key, found in cluster.objects.items()} == before
    rehearsed = [(asked.method, asked.path) for asked in cluster.asked]
    cluster.asked.clear()
    assert (await do(**STEPS[verb])).detail.keys() == outcome.detail.keys()
    assert [(asked.method, asked.path) for asked in cluster.asked] == rehearsed


@pytest.mark.parametrize("verb", STEPS)
async def test_a_rehearsal_tells_what_is_not_allowed(cluster: Cluster, do: Do, verb: str) -> None:
    """That is what it is for: who may only read hears of it in the dry run."""
    every = ["deployments", "deployments/scale", "pods", "nodes"]
    cluster.grants["autoheal"] = [{"apiGroups": ["", "apps"], "resources": every, "verbs": ["get"]}]
    outcome = await do(rehearsal=True, **STEPS[verb])
    assert not outcome.ok
    assert re.match(r"forbidden \(403\): .* is forbidden: User \"autoheal\" cannot ", outcome.detail["error"])


async def test_a_rehearsed_eviction_does_not_wait(cluster: Cluster, do: Do, clock: HastyClock) -> None:
    """It tells of the budget at once."""
    cluster.budgets["api-pdb"] = 3
    outcome = await do(rehearsal=True, **STEPS["evict"])
    assert "api-pdb" in outcome.detail["error"]
    assert (outcome.detail["attempts"], clock.slept) == (1, [])


async def test_what_is_refused_is_told_in_the_words_of_the_api(
    cluster: Cluster, do: Do, context: Context, pki: Pki, tmp_path: Path
) -> None:
    """401, 403, 404 and 422, each with what to look at."""
    params = STEPS["rollout_restart"]
    config = kubeconfig(tmp_path, cluster, pki, "stolen-and-revoked")
    outcome = await Kubernetes(config).run(params, context)
    where = f"kubeconfig {str(config)!r}, context 'test'"
    assert outcome.detail["error"] == f"not logged in (401): Unauthorized are the credentials of {where} still good?"
    assert "stolen-and-revoked" not in str(outcome)
    kubeconfig(tmp_path, cluster, pki)
    cluster.grants["autoheal"] = [{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]}]
    assert (await do(**params)).detail["error"] == (
        'forbidden (403): deployments.apps "api" is forbidden: User "autoheal" cannot patch resource '
        '"deployments" in API group "apps" in the namespace "shop"'
    )
    cluster.grants.clear()
    outcome = await do(rollout_restart="deployment/nothing", namespace="shop")
    assert outcome.detail["error"] == 'not found (404): deployments.apps "nothing" not found'
    # Somebody has put a number where the API wants text: what it finds invalid is not ours alone.
    cluster.objects["deployments", "shop", "api"]["metadata"]["annotations"]["broken"] = 5
    assert (await do(**params)).detail["error"].startswith('invalid (422): Deployment "" is invalid: metadata.annotat')


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"paused": True}, "its rollouts are paused: nothing restarts until `kubectl rollout resume`"),
        (
            {"updateStrategy": {"type": "OnDelete"}},
            "its update strategy is OnDelete: pods restart when they are deleted",
        ),
    ],
)
async def test_a_restart_that_would_restart_nothing_fails(
    cluster: Cluster, do: Do, spec: dict[str, Any], why: str
) -> None:
    """The API would take the annotation all the same."""
    cluster.objects["deployments", "shop", "api"]["spec"] |= spec
    outcome = await do(**STEPS["rollout_restart"])
    assert not outcome.ok
    assert outcome.detail["error"].startswith(why)
    assert [asked.method for asked in cluster.asked] == ["GET"]


async def test_a_rollout_is_waited_for(cluster: Cluster, do: Do, clock: HastyClock) -> None:
    """Watched, until what `kubectl rollout status` asks for is so; a watch that is closed begins anew."""
    task = asyncio.ensure_future(do(**STEPS["rollout_restart"], wait=True))
    await asyncio.wait_for(cluster.watched.wait(), 20)
    cluster.touch("deployments", "api", updatedReplicas=1, observedGeneration=2)
    cluster.watched.clear()
    cluster.close_watches()
    await asyncio.wait_for(cluster.watched.wait(), 20)
    assert clock.slept == [1.0]
    cluster.touch("deployments", "api", updatedReplicas=3, availableReplicas=2)
    cluster.touch("deployments", "api", availableReplicas=3)
    outcome = await asyncio.wait_for(task, 20)
    assert outcome.ok, outcome
    assert outcome.detail["after"] == {"replicas": 3, "updated": 3, "available": 3, "generation": 2}
    lists = [asked.query for asked in cluster.asked if asked.path.endswith("/deployments")]
    assert [("watch" in query) for query in lists] == [False, True, False, True]


async def test_a_watch_whose_history_is_gone_begins_anew(cluster: Cluster, do: Do, clock: HastyClock) -> None:
    """410 comes as an event; all is then looked at again."""

    def compact(_: str) -> None:
        if "watch" in cluster.asked[-1].query and not clock.slept:
            cluster.touch("deployments", "api", observedGeneration=2)
            cluster.forget()

    cluster.before = compact
    outcome = await do(**STEPS["rollout_restart"], wait=True)
    assert outcome.ok, outcome
    assert clock.slept == [1.0]


async def test_a_rollout_that_cannot_succeed_is_not_waited_for(cluster: Cluster, do: Do) -> None:
    """Its controller says so; a workload that is deleted meanwhile rolls out no more."""
    given_up = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "timed out"}
    cluster.touch("deployments", "api", conditions=[given_up], observedGeneration=2)
    outcome = await do(**STEPS["rollout_restart"], wait=True)
    assert outcome.detail["error"] == "accepted, but not complete: it exceeded its progress deadline: timed out"
    task = asyncio.ensure_future(do(rollout_restart="statefulset/api", namespace="shop", wait=True))
    await asyncio.wait_for(cluster.watched.wait(), 20)
    cluster.remove("statefulsets", "api")
    outcome = await asyncio.wait_for(task, 20)
    assert outcome.detail["error"] == "accepted, but not complete: it was deleted meanwhile"


async def test_the_end_of_a_pod_is_waited_for(cluster: Cluster, do: Do) -> None:
    """Also when another of its name is there at once."""
    task = asyncio.ensure_future(do(**STEPS["delete_pod"], wait=True))
    await asyncio.wait_for(cluster.watched.wait(), 20)
    cluster.remove("pods", "api-1")
    cluster.add("pods", "api-1")
    outcome = await asyncio.wait_for(task, 20)
    assert (outcome.ok, outcome.detail["gone"]) == (True, True), outcome
    cluster.watched.clear()
    task = asyncio.ensure_future(do(evict="api-2", namespace="shop", wait=True))
    await asyncio.wait_for(cluster.watched.wait(), 20)
    cluster.add("pods", "api-2")
    assert (await asyncio.wait_for(task, 20)).ok


async def test_what_is_not_complete_at_the_deadline_fails(
    cluster: Cluster, action: Kubernetes, context: Context
) -> None:
    """It says what it was waiting for: the API has accepted it, and goes on."""
    outcome = await action.run({**STEPS["scale"], "wait": True, "timeout": 0.5}, context)
    assert not outcome.ok
    assert outcome.detail["error"] == (
        "accepted, but not complete after 0.5 s: its controller has not taken note of the change"
    )
    assert outcome.detail["after"] == {"replicas": 5}


async def test_waiting_needs_the_right_to_watch(cluster: Cluster, do: Do) -> None:
    """What could not be seen to be done is no success."""
    cluster.grants["autoheal"] = [{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "patch"]}]
    outcome = await do(**STEPS["rollout_restart"], wait=True)
    assert outcome.detail["error"].startswith("accepted, but not complete: forbidden (403): deployments.apps ")
    cluster.grants["autoheal"][0]["verbs"].append("list")
    outcome = await do(**STEPS["rollout_restart"], wait=True)
    assert 'cannot watch resource "deployments"' in outcome.detail["error"]


async def test_the_role_that_the_page_shows_is_enough_and_not_too_much(
    cluster: Cluster, do: Do, clock: HastyClock
) -> None:
    """Every verb of docs/actions.md's roles is needed, and no other is."""
    role, nodes = YAML(typ="safe").load_all("".join(re.findall(r"```yml\n(.*?)```", DOCS.read_text(), re.DOTALL)))
    assert (role["kind"], nodes["kind"]) == ("Role", "ClusterRole")
    grants = [{**rule, "namespace": role["metadata"]["namespace"]} for rule in role["rules"]] + nodes["rules"]
    done = {"observedGeneration": 9, "updatedNumberScheduled": 2, "updatedReplicas": 3, "availableReplicas": 3}

    async def errors() -> list[str]:
        told = []
        steps = [*STEPS.values(), *({"rollout_restart": f"{kind}/api"} for kind in ("statefulset", "daemonset"))]
        for step in [*steps, {"scale": "statefulset/api", "replicas": 4}]:
            cluster.objects.clear()
            cluster.asked.clear()
            furnish(cluster)
            for resource in WORKLOADS:
                cluster.touch(resource, "api", **done, readyReplicas=5)
            if "cordon" not in step:
                step = {"namespace": "shop", **step, "wait": True}  # noqa: PLW2901 as the page's role is for
            if "delete_pod" in step or "evict" in step:
                cluster.before = lambda _: "watch" in cluster.asked[-1].query and cluster.remove("pods", "api-1")
            elif "cordon" not in step:
                cluster.before = unsettle(step)
            outcome = await do(**step)
            cluster.before = lambda _: None
            told += [] if outcome.ok else [outcome.detail["error"]]
        return told

    def unsettle(step: dict[str, Any]) -> Callable[[str], None]:
        kind = (step.get("rollout_restart") or step["scale"]).partition("/")[0]

        def change(method: str) -> None:
            # Complete only once it is watched, so that the right to do so is used.
            seen = "watch" in cluster.asked[-1].query
            cluster.objects[f"{kind}s", "shop", "api"]["status"]["observedGeneration"] = 9 if seen else 0
            if seen:
                cluster.objects[f"{kind}s", "shop", "api"]["status"] |= {"updatedReplicas": 9, "availableReplicas": 9}
                cluster.objects[f"{kind}s", "shop", "api"]["status"] |= {"replicas": 9}
                cluster.touch(f"{kind}s", "api")

        return change

    cluster.grants["autoheal"] = grants
    assert await errors() == []
    for rule in grants:
        for part in ("resources", "verbs"):
            for word in list(rule[part]):
                rule[part].remove(word)
                assert any("403" in error for error in await errors()), (rule, word)
                rule[part].append(word)


def test_on_either_loop(pki: Pki, context: Context, tmp_path: Path, loop: str) -> None:
    """TLS, and a change."""

    async def restart() -> Outcome:
        async with kubernetes(pki) as cluster:
            furnish(cluster)
            return await Kubernetes(kubeconfig(tmp_path, cluster, pki)).run(STEPS["rollout_restart"], context)

    assert run_on(loop, restart()).ok


def test_describe_says_what_and_where() -> None:
    """In the words of the file."""
    describe = ACTIONS["kubernetes"].describe
    assert describe(STEPS["rollout_restart"]) == "rollout restart deployment/api in namespace shop"
    assert describe(STEPS["scale"]) == "scale deployment/api to 5 replicas in namespace shop"
    up = {"scale": "deployment/api", "namespace": "shop", "by": 2, "max": 9, "context": "prod"}
    assert describe(up) == "scale deployment/api by +2 replicas, at most 9 in namespace shop of context prod"
    down = {"scale": "deployment/api", "namespace": "shop", "by": -2, "min": 1}
    assert describe(down) == "scale deployment/api by -2 replicas, at least 1 in namespace shop"
    assert describe(STEPS["cordon"]) == "cordon node-1"


def test_what_may_be_repeated_or_taken_back() -> None:
    """Scaled by two twice is scaled by four; a pod that has ended does not come back."""
    traits = {verb: ACTIONS["kubernetes"].traits(params) for verb, params in STEPS.items()}
    assert all(told.idempotent for told in traits.values())
    assert [verb for verb, told in traits.items() if told.reversible] == ["scale", "cordon"]
    assert not ACTIONS["kubernetes"].traits({"scale": "deployment/api", "by": 2}).idempotent


@pytest.mark.parametrize(
    "name", ["", "a/b", "a?x", "..", "a..b", "A", "a_b", "-a", "a-", "a b", "a\n", "ä", "a" * 254, "%2e"]
)
async def test_a_name_that_is_none_never_reaches_the_api(cluster: Cluster, do: Do, name: str) -> None:
    """In a URL's path it would be another request."""
    for params in (
        {"cordon": name},
        {"delete_pod": name, "namespace": "shop"},
        {"delete_pod": "api-1", "namespace": name},
        {"rollout_restart": f"deployment/{name}", "namespace": "shop"},
    ):
        outcome = await do(**params)
        assert re.search(r"cannot be a (name|namespace): ", outcome.detail["error"])
    assert (await do(evict="api-1", namespace="a.b")).detail["error"].startswith("'a.b' cannot be a namespace")
    assert cluster.asked == []


async def test_how_an_object_is_until_somebody_changes_it(
    cluster: Cluster, action: Kubernetes, do: Do, context: Context
) -> None:
    """Another text when people want something else of it, or it is another object; none without an answer."""
    api = {"rollout_restart": "deployment/api", "namespace": "shop"}
    first = await action.observe(api, context)
    uid = cluster.objects["deployments", "shop", "api"]["metadata"]["uid"]
    assert first == await action.observe(api, context) == f"{uid} generation 1"
    assert (await do(**api)).ok
    assert await action.observe(api, context) == f"{uid} generation 2"
    assert await action.observe(api | {"rollout_restart": "deployment/nope"}, context) == "no such object"
    assert await action.observe(api | {"namespace": "a/b"}, context) is None
    before = await action.observe({"cordon": "node-1"}, context)
    assert before is not None
    assert (await do(cordon="node-1")).ok
    assert str(await action.observe({"cordon": "node-1"}, context)).endswith(" cordoned")
    assert await Kubernetes(Path("/nowhere")).observe(api, context) is None
