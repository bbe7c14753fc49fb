"""The ledger against a model that remembers everything: counts never drift, whatever the order."""

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from builders import ack_policy, node, pod, virtual
from spillover.core.cache import Claim, SchedulingCache
from spillover.core.conventions import NodeConventions
from spillover.core.ledger import RESERVATION_SECONDS
from spillover.core.placement import Placement
from spillover.core.pods import POLICY_ANNOTATION, UNIT_ANNOTATION, Pod
from spillover.core.policy import UnitKey

PODS = 4
MAX = 1
POLICY = ack_policy({"resource": "eci", "max": MAX}, {"resource": "ecs", "max": MAX})
ON = {"vk": POLICY.units[0], "real": POLICY.units[1]}


class Cluster(RuleBasedStateMachine):
    """An API server that holds pods, a watch of it that lags, and the cache under test.

    `truth` is what the API server has; `unseen` are its events that the watch has yet to deliver;
    `sent` are Bindings on their way, each with its precondition."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.version = 10
        self.uids: list[str] = []
        self.truth: dict[str, Pod] = {}
        self.unseen: list[tuple[str, Pod | None]] = []
        self.sent: dict[str, Claim] = {}
        self.given_up: set[str] = set()
        self.cache = SchedulingCache(NodeConventions(), lambda: self.now)
        self.cache.put_node(virtual("vk"))
        self.cache.put_node(node("real"))
        self.cache.put_policy(POLICY)

    def write(self, uid: str, after: Pod | None) -> None:
        self.version += 1
        if after is None:
            del self.truth[uid]
        else:
            after = replace(after, version=self.version)
            self.truth[uid] = after
        self.unseen.append((uid, after))

    def unbound(self) -> list[str]:
        return sorted(uid for uid, pod in self.truth.items() if not pod.node)

    def bound(self) -> list[str]:
        return sorted(uid for uid, pod in self.truth.items() if pod.node and not pod.finished)

    def to_filter(self) -> list[str]:
        ledger = self.cache.ledger
        return [
            uid for uid in self.unbound() if not (ledger.in_flight(uid) or ledger.is_bound(uid))
        ]

    def to_fence(self) -> list[str]:
        """Bindings that the extender does not wait for any more."""
        return [
            uid
            for uid in self.uids
            if self.cache.ledger.in_flight(uid) and (uid not in self.sent or uid in self.given_up)
        ]

    # --- what users, kubelets and the scheduler write -------------------------------------------

    @precondition(lambda self: len(self.truth) < PODS)
    @rule()
    def create(self) -> None:
        uid = f"pod-{len(self.uids)}"
        self.uids.append(uid)
        self.write(uid, pod(uid))

    @precondition(lambda self: self.truth)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        self.write(data.draw(st.sampled_from(sorted(self.truth))), None)

    @precondition(bound)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        uid = data.draw(st.sampled_from(self.bound()))
        self.write(uid, replace(self.truth[uid], finished=True))

    @precondition(unbound)
    @rule(data=st.data(), reason=st.sampled_from("ab"))
    def refuse(self, data: st.DataObject, reason: str) -> None:
        uid = data.draw(st.sampled_from(self.unbound()))
        self.write(uid, replace(self.truth[uid], refusal=reason))

    # --- the extender ---------------------------------------------------------------------------

    @precondition(to_filter)
    @rule(data=st.data(), offered=st.sampled_from([("vk", "real"), ("vk",), ("vk",), ("real",)]))
    def filter_and_bind(self, data: st.DataObject, offered: tuple[str, ...]) -> None:
        uid = data.draw(st.sampled_from(self.to_filter()))
        decision = self.cache.place(self.truth[uid], offered)
        if not isinstance(decision, Placement):
            return
        assert decision.unit is not None
        assert decision.nodes <= set(offered)
        assert self.cache.ledger.taken(UnitKey(POLICY.key, decision.unit.identity), "") <= MAX
        if data.draw(st.booleans()):  # else a later plugin fails, or PreBind takes long
            self.bind(uid, data.draw(st.sampled_from(sorted(decision.nodes))))

    @precondition(unbound)
    @rule(data=st.data(), on=st.sampled_from(["vk", "real"]))
    def bind_late(self, data: st.DataObject, on: str) -> None:
        self.bind(data.draw(st.sampled_from(self.unbound())), on)

    def bind(self, uid: str, on: str) -> None:
        if uid in self.sent:
            return  # the model keeps one Binding of a pod at a time on its way
        claim = self.cache.claim(uid, on)
        if isinstance(claim, Claim):
            self.sent[uid] = claim

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def give_up_on_a_binding(self, data: st.DataObject) -> None:
        """The answer is lost, or so late that the extender waits no longer."""
        uid = data.draw(st.sampled_from(sorted(self.sent)))
        if uid not in self.given_up:
            self.given_up.add(uid)
            self.cache.ledger.outcome_unknown(uid, self.sent[uid].pod.version)

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def api_server_gets_a_binding(self, data: st.DataObject) -> None:
        uid = data.draw(st.sampled_from(sorted(self.sent)))
        claim = self.sent.pop(uid)
        before = self.truth.get(uid)
        commits = before and before.version == claim.pod.version and not before.node
        if before is not None and commits:
            annotations = {**before.annotations, **claim.annotations}
            self.write(uid, replace(before, node=claim.node, annotations=annotations))
        if uid in self.given_up:
            self.given_up.discard(uid)
        elif commits:
            self.cache.ledger.bound(uid)
        else:
            self.cache.ledger.not_bound(uid)

    @precondition(to_fence)
    @rule(data=st.data())
    def fence(self, data: st.DataObject) -> None:
        self.fence_one(data.draw(st.sampled_from(self.to_fence())))

    def fence_one(self, uid: str) -> None:
        """Change the version, then read back."""
        if uid in self.truth and not self.truth[uid].node:
            self.write(uid, self.truth[uid])
        bound = uid in self.truth and self.truth[uid].node
        (self.cache.ledger.bound if bound else self.cache.ledger.not_bound)(uid)

    # --- time and the watch ---------------------------------------------------------------------

    @rule(seconds=st.sampled_from([1.0, RESERVATION_SECONDS]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(count=st.integers(1, 4))
    def deliver(self, count: int) -> None:
        for uid, after in self.unseen[:count]:
            if after is None:
                self.cache.drop_pod(uid)
            else:
                self.cache.put_pod(after)
        del self.unseen[:count]

    @rule()
    def relist(self) -> None:
        """The watch broke: a list of the present stands for the events that were not delivered."""
        for each in self.truth.values():
            self.cache.put_pod(each)
        self.cache.keep_pods(set(self.truth), self.version)
        self.unseen.clear()

    # --- what must always hold ------------------------------------------------------------------

    @invariant()
    def no_unit_exceeds_its_max(self) -> None:
        for unit in POLICY.units:
            held = [
                pod
                for pod in self.truth.values()
                if pod.annotations.get(UNIT_ANNOTATION) == unit.identity and not pod.finished
            ]
            assert len(held) <= MAX

    @invariant()
    def bound_pods_carry_the_unit_of_their_node(self) -> None:
        for each in self.truth.values():
            if each.node:
                assert each.annotations[UNIT_ANNOTATION] == ON[each.node].identity
                assert each.annotations[POLICY_ANNOTATION] == str(POLICY.key)

    def teardown(self) -> None:
        """Once everything is delivered and settled, exactly the live bound pods count."""
        for uid in self.sent:
            self.cache.ledger.not_bound(uid)
        self.sent.clear()
        for uid in self.to_fence():
            self.fence_one(uid)
        self.deliver(len(self.unseen))
        self.now += RESERVATION_SECONDS
        for name, unit in ON.items():
            live = [p for p in self.truth.values() if p.node == name and not p.finished]
            assert self.cache.ledger.taken(UnitKey(POLICY.key, unit.identity), "") == len(live)
        assert self.cache.ledger.reservations() == 0


TestLedger = Cluster.TestCase
TestLedger.settings = settings(max_examples=300, stateful_step_count=60, deadline=None)
