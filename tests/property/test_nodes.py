"""The members of pools, whenever they are asked for, are those that a look at each node gives."""

from hypothesis import given
from hypothesis import strategies as st

from spillover.api.kubernetes import Taint, Toleration
from spillover.core.model.conventions import NodeConventions
from spillover.core.model.nodes import Node, NodeIndex
from spillover.core.model.policy import NodeKind, NodePool
from spillover.core.model.selectors import Operator, Requirement
from spillover.core.model.taints import tolerated

CONVENTIONS = NodeConventions()
labels = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["virtual-kubelet", "real"]),
        "goatscaler.io/managed": st.sampled_from(["true", "false"]),
        "zone": st.sampled_from(["a", "b", "7"]),
    },
)
taints = st.lists(
    st.builds(
        Taint,
        st.sampled_from(["virtual-kubelet.io/provider", "team"]),
        st.sampled_from(["", "x"]),
        st.sampled_from(["NoSchedule", "NoExecute"]),
    ),
    max_size=2,
)
nodes = st.builds(
    lambda name, labels, taints: Node(name, labels, tuple(taints)),
    st.sampled_from([f"node-{n}" for n in range(5)]),
    labels,
    taints,
)
requirements = st.one_of(
    st.builds(
        Requirement,
        st.just("zone"),
        st.sampled_from([Operator.IN, Operator.NOT_IN]),
        st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=2).map(tuple),
    ),
    st.builds(
        Requirement, st.just("zone"), st.sampled_from([Operator.EXISTS, Operator.DOES_NOT_EXIST])
    ),
    st.builds(
        Requirement, st.just("zone"), st.sampled_from([Operator.GT, Operator.LT]), st.just(("5",))
    ),
)
pools = st.builds(
    NodePool, st.sampled_from(NodeKind), st.lists(requirements, max_size=2).map(tuple)
)
events = st.lists(
    st.one_of(
        nodes,
        st.sampled_from([f"node-{n}" for n in range(5)]),
        pools,
    ),
    max_size=30,
)
tolerations = st.lists(
    st.builds(
        Toleration,
        st.sampled_from(["virtual-kubelet.io/provider", "team", ""]),
        st.just("Exists"),
        st.just(""),
        st.sampled_from(["", "NoSchedule"]),
    ),
    max_size=2,
)


def belongs(each: Node, pool: NodePool) -> bool:
    is_virtual = each.labels.get("type") == "virtual-kubelet"
    managed = each.labels.get("goatscaler.io/managed") == "true"
    fits = {
        NodeKind.VIRTUAL: is_virtual,
        NodeKind.REAL: not is_virtual,
        NodeKind.ELASTIC: not is_virtual and managed,
    }
    return fits[pool.kind] and all(r.matches(each.labels) for r in pool.requirements)


@given(events, tolerations, st.booleans())
def test_node_index(events: list[object], tolerations: list[Toleration], virtual: bool) -> None:
    index = NodeIndex(CONVENTIONS)
    known: dict[str, Node] = {}
    asked: set[NodePool] = set()
    for event in events:
        match event:
            case Node():
                index.put(event)
                known[event.name] = event
            case str():
                index.drop(event)
                known.pop(event, None)
            case NodePool() as pool:
                asked.add(pool)
        for pool in asked:
            wanted = {n for n, each in known.items() if belongs(each, pool)}
            assert index.members(pool) == wanted
            assert {name for name in known if index.is_member(name, pool)} == wanted
    names = frozenset(known)
    assert index.names() == names
    assert index.admitting(names, tolerations, to_virtual_unit=virtual) == {
        name
        for name, each in known.items()
        if tolerated(
            [
                taint
                for taint in each.taints
                if not (
                    virtual
                    and each.labels.get("type") == "virtual-kubelet"
                    and taint.key in CONVENTIONS.provider_taints
                )
            ],
            tolerations,
        )
    }
