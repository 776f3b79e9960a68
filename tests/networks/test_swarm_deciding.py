"""Who is in the swarm, who manages it, how it is mended: the deciding functions alone."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from agents.swarm_plan import Begin, Drop, Join, Leave, Make, Recover, Remove, SetRole, plan_swarm
from domain.container import NetworkSpec
from domain.networks import NetworkMode
from domain.swarm import (
    MANAGER_LOST_SECONDS,
    RECOVER_SECONDS,
    Member,
    Peer,
    Swarm,
    SwarmOrder,
    SwarmRole,
    SwarmSeen,
    at_rest,
    decide,
    is_ours,
    makes_networks,
    order_of,
    retold,
)
from tests.planning.model import number

START = datetime(2026, 1, 1, tzinfo=UTC)
OVERLAY = NetworkMode.OVERLAY
LONG = RECOVER_SECONDS + 1


def member(n: int, **changes: object) -> Member:
    """The n-th node, whose engine is in no swarm."""
    base = Member(
        id=number(n), name=f"n{n}", since=START + timedelta(seconds=n), address=f"10.0.0.{n}", seen=SwarmSeen()
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def inside(n: int, *, manager: bool = False, **changes: object) -> Member:
    """The n-th node in our swarm, as its role says."""
    seen = SwarmSeen(
        active=True, inside=True, node=f"s{n}", manager=manager, cluster="c" if manager else "", ours=manager,
        entered=True, quorum=manager,
    )  # fmt: skip
    role = SwarmRole.MANAGER if manager else SwarmRole.WORKER
    return replace(member(n, seen=seen, role=role, overlay=True), **changes)  # type: ignore[arg-type]


def running(managers: int, workers: int = 0) -> tuple[Swarm, list[Member]]:
    """A swarm at work."""
    found = [inside(n, manager=n <= managers) for n in range(1, managers + workers + 1)]
    return Swarm(founder=number(1), cluster="c", lead=number(1)), found


def seen(each: Member) -> SwarmSeen:
    assert each.seen is not None
    return each.seen


def managing(members: tuple[Member, ...]) -> list[str]:
    return [each.name for each in members if each.role is SwarmRole.MANAGER]


def test_one_node_is_left_plain_whatever_is_set() -> None:
    for mode in NetworkMode:
        swarm, (only,) = decide(mode, Swarm(), [member(1)])
        assert swarm == Swarm()
        assert (only.role, only.overlay, only.note) == (SwarmRole.NONE, False, "")


def test_two_nodes_begin_with_the_oldest() -> None:
    swarm, decided = decide(OVERLAY, Swarm(), [member(2), member(1)])
    assert swarm.founder == number(1)
    one, two = decided
    first = order_of(swarm, one, decided, token="", pool="p")
    assert (first.begin, first.pool) == (True, "p")
    waiting = order_of(swarm, two, decided, token="", pool="p")
    assert (waiting.begin, waiting.join) == (False, ())
    assert "about to join" in two.note


def test_the_others_join_as_soon_as_it_is_up() -> None:
    swarm, decided = decide(OVERLAY, Swarm(founder=number(1)), [inside(1, manager=True, overlay=False), member(2)])
    assert (swarm.cluster, swarm.lead) == ("c", number(1))
    told = order_of(swarm, decided[1], decided, token="secret", pool="p")
    assert (told.join, told.token) == (("10.0.0.1:2377",), "secret")
    assert "secret" not in repr(told)
    assert not decided[0].overlay, "an overlay of one host is none"


def test_a_token_is_told_only_to_who_is_to_join() -> None:
    swarm, members = running(2)
    swarm, decided = decide(OVERLAY, swarm, members)
    assert [order_of(swarm, each, decided, token="secret", pool="p").token for each in decided] == ["", ""]


def test_there_are_three_managers_of_five() -> None:
    swarm, decided = decide(OVERLAY, *running(1, 4))
    assert managing(decided) == ["n1", "n2", "n3"]
    assert dict(order_of(swarm, decided[0], decided, token="", pool="p").keep)["s2"] is SwarmRole.MANAGER


def test_a_manager_that_is_lost_is_replaced_after_a_while() -> None:
    swarm, members = running(3, 1)
    members[0] = replace(members[0], silent=MANAGER_LOST_SECONDS - 1)
    assert managing(decide(OVERLAY, swarm, members)[1]) == ["n1", "n2", "n3"]
    members[0] = replace(members[0], silent=MANAGER_LOST_SECONDS + 1)
    swarm, decided = decide(OVERLAY, swarm, members)
    assert managing(decided) == ["n2", "n3", "n4"]
    assert swarm.lead == number(2)
    assert decided[0].overlay, "its containers may be running: they stay where they are"


def test_who_joined_by_a_manager_that_is_dead_is_promoted_last() -> None:
    swarm, members = running(3, 2)
    members[0] = replace(members[0], silent=LONG)
    members[3] = replace(members[3], seen=replace(seen(members[3]), by="10.0.0.1:2377"))
    members[4] = replace(members[4], seen=replace(seen(members[4]), by="10.0.0.3:2377"))
    assert managing(decide(OVERLAY, swarm, members)[1]) == ["n2", "n3", "n5"]
    assert managing(decide(OVERLAY, swarm, members[:4])[1]) == ["n2", "n3", "n4"]


def test_a_lost_manager_whom_nobody_can_replace_stays_one() -> None:
    swarm, members = running(3)
    members[0] = replace(members[0], silent=LONG)
    assert managing(decide(OVERLAY, swarm, members)[1]) == ["n1", "n2", "n3"]


def test_without_a_quorum_for_long_the_survivor_goes_on_alone() -> None:
    swarm, members = running(3)
    # Engine 20.10 does not know whose swarm it manages while there is no leader.
    alone = replace(members[2], seen=replace(seen(members[2]), quorum=False, ours=False, cluster=""))
    gone = [replace(each, silent=RECOVER_SECONDS - 1) for each in members[:2]]
    assert decide(OVERLAY, swarm, [*gone, alone])[0].recover is None
    gone = [replace(each, silent=LONG) for each in members[:2]]
    swarm, decided = decide(OVERLAY, swarm, [*gone, alone])
    assert (swarm.recover, swarm.cluster) == (number(3), "c")
    assert order_of(swarm, decided[2], decided, token="", pool="p").recover
    mended, _ = decide(OVERLAY, swarm, [*decided[:2], replace(decided[2], seen=seen(members[2]))])
    assert (mended.recover, mended.lead) == (None, number(3))


def test_a_swarm_without_any_manager_left_is_begun_anew() -> None:
    swarm, members = running(1, 2)
    members[0] = replace(members[0], silent=LONG)
    swarm, decided = decide(OVERLAY, swarm, members)
    assert (swarm.cluster, swarm.founder) == ("", number(2))
    assert [each.reset for each in decided] == ["s1", "s2", "s3"]
    assert order_of(swarm, decided[1], decided, token="", pool="p") == SwarmOrder(role=SwarmRole.MANAGER, leave="s2")
    left = [decided[0], *(replace(each, seen=SwarmSeen()) for each in decided[1:])]
    swarm, decided = decide(OVERLAY, swarm, left)
    assert order_of(swarm, decided[1], decided, token="", pool="p").begin


def test_an_engine_in_somebody_elses_swarm_is_left_there() -> None:
    theirs = member(3, seen=SwarmSeen(active=True, inside=True, node="x", manager=True, cluster="other", quorum=True))
    swarm, members = running(2)
    swarm, decided = decide(OVERLAY, swarm, [*members, theirs])
    refused = decided[2]
    assert (refused.role, refused.reset, refused.overlay) == (SwarmRole.NONE, "", False)
    assert "in a swarm that is not this installation's" in refused.note
    assert plan_swarm(order_of(swarm, refused, decided, token="", pool="p"), seen(theirs), in_use=False) == ()


def test_who_cannot_be_reached_is_told_so() -> None:
    _, decided = decide(OVERLAY, Swarm(), [member(1), member(2), member(3, address="127.0.0.1")])
    assert "public_ip" in decided[2].note
    assert managing(decided) == ["n1"]


def test_an_engine_that_refuses_says_why() -> None:
    refusing = member(1, seen=SwarmSeen(error="--live-restore daemon configuration is incompatible with swarm mode"))
    swarm, decided = decide(OVERLAY, Swarm(), [refusing, member(2), member(3)])
    assert swarm.founder == number(2)
    assert "live-restore" in decided[0].note


def test_another_setting_or_a_last_node_ends_the_swarm_after_its_containers_have_left() -> None:
    swarm, members = running(2)
    for mode, left in ((NetworkMode.PORTS, members), (OVERLAY, members[:1])):
        ended, decided = decide(mode, swarm, left)
        assert ended == Swarm()
        assert not any(each.overlay for each in decided)
        told = order_of(ended, decided[0], decided, token="", pool="p")
        assert plan_swarm(told, seen(members[0]), in_use=True) == ()
        assert plan_swarm(told, seen(members[0]), in_use=False) == (Leave(),)


def test_an_engine_that_its_swarm_does_not_take_back_leaves_and_joins_again() -> None:
    swarm, members = running(2, 1)
    stray = replace(seen(members[2]), active=False, stuck=True)
    members[2] = replace(members[2], seen=stray)
    swarm, decided = decide(OVERLAY, swarm, members)
    assert plan_swarm(order_of(swarm, decided[2], decided, token="t", pool="p"), stray, in_use=True) == (Leave(),)
    decided = (*decided[:2], replace(decided[2], seen=SwarmSeen()))
    swarm, decided = decide(OVERLAY, swarm, decided)
    assert decided[2].reset == ""
    told = order_of(swarm, decided[2], decided, token="t", pool="p")
    assert plan_swarm(told, SwarmSeen(), in_use=True) == (
        Join(address="10.0.0.3", managers=("10.0.0.2:2377", "10.0.0.1:2377"), token="t"),
    )


def test_what_is_about_to_enter_is_ours_when_it_was_sent() -> None:
    """An engine that has no identity yet, or changes its role, cannot say whose swarm it is in."""
    nameless = SwarmSeen(inside=True)
    for role, ours in ((SwarmRole.NONE, False), (SwarmRole.WORKER, True), (SwarmRole.MANAGER, True)):
        assert is_ours(member(3, seen=nameless, role=role), frozenset()) is ours
    assert not is_ours(member(3, seen=None), frozenset({"s3"}))
    assert not is_ours(member(3, seen=SwarmSeen(node="s3")), frozenset({"s3"})), "it is out by now"
    named = member(3, seen=replace(nameless, node="s3"))
    assert not is_ours(named, frozenset({"s1"}))
    assert is_ours(named, frozenset({"s3"}))
    assert is_ours(replace(named, reset="s3"), frozenset())
    assert is_ours(replace(named, overlay=True), frozenset())
    assert is_ours(member(3, seen=replace(nameless, node="s3", entered=True)), frozenset())
    assert is_ours(member(3, seen=replace(nameless, node="s3", ours=True)), frozenset())


def test_an_agent_that_has_not_said_anything_yet_is_waited_for() -> None:
    _, decided = decide(OVERLAY, Swarm(), [member(1), member(2), member(3, seen=None)])
    assert decided[2].role is SwarmRole.NONE
    assert decided[2].note == "its agent has not said yet whether its engine can be in a swarm"
    alone = decide(OVERLAY, Swarm(), [member(1), member(2, seen=None)])[1]
    assert alone[0].note == "no other host can be in an overlay with it"


def test_words_for_people() -> None:
    _, decided = decide(OVERLAY, Swarm(), [member(1), member(2), member(3, address="")])
    assert decided[1].note == "its engine is about to join the overlay"
    assert decided[2].note == (
        "no address is known under which other hosts reach it: links to and from other hosts use published ports."
        " Set its public_ip (PATCH /api/v1/admin/node/UUID/)"
    )
    for mode, members in ((NetworkMode.PORTS, [member(1), member(2, address="")]), (OVERLAY, [member(1, address="")])):
        assert {each.note for each in decide(mode, Swarm(), members)[1]} == {""}, "nothing is missing there"


def test_a_founder_stays_while_it_can_found() -> None:
    both = [member(1), member(2)]
    assert decide(OVERLAY, Swarm(founder=number(2)), both)[0].founder == number(2)
    gone = [member(1), member(2, silent=LONG)]
    assert decide(OVERLAY, Swarm(founder=number(2)), gone)[0].founder == number(1)
    assert decide(OVERLAY, Swarm(founder=number(9)), both)[0].founder == number(1), "it is out"
    swarm, members = running(1, 1)
    quiet = [replace(members[0], silent=1.0), members[1]]
    after, _ = decide(OVERLAY, swarm, quiet)
    assert (after.founder, after.cluster, after.lead) == (number(1), "c", None), "it is waited for"
    found = decide(OVERLAY, Swarm(cluster="c"), members)[0]
    assert (found.founder, found.lead) == (number(1), number(1))


def test_when_silence_is_long_enough() -> None:
    swarm, members = running(3)
    alone = replace(members[2], seen=replace(seen(members[2]), quorum=False))
    gone = [replace(each, silent=RECOVER_SECONDS) for each in members[:2]]
    assert decide(OVERLAY, swarm, [*gone, alone])[0].recover == number(3)
    swarm, members = running(3, 1)
    members[0] = replace(members[0], silent=MANAGER_LOST_SECONDS)
    assert managing(decide(OVERLAY, swarm, members)[1]) == ["n2", "n3", "n4"]


def test_who_takes_a_lost_managers_place() -> None:
    """A worker that is up first, then the lost one itself, then who is neither."""
    swarm, members = running(2, 0)
    members[1] = replace(members[1], silent=LONG)
    others = [member(3, silent=LONG), member(4, silent=LONG)]
    assert managing(decide(OVERLAY, swarm, [*members, *others])[1]) == ["n1", "n2", "n3"]


def test_who_carries_containers_on_overlays() -> None:
    swarm, members = running(2, 1)
    out = replace(members[2], seen=SwarmSeen(error="live-restore"))
    assert [each.overlay for each in decide(OVERLAY, swarm, [*members[:2], out])[1]] == [True, True, False]
    silent = replace(members[2], seen=SwarmSeen())
    assert decide(OVERLAY, swarm, [*members[:2], silent])[1][2].overlay, "out for no reason: it is on its way back"
    fresh = replace(members[2], overlay=False)
    assert decide(OVERLAY, swarm, [*members[:2], fresh])[1][2].overlay
    leaving = replace(fresh, reset="s3", seen=replace(seen(fresh), ours=False))
    assert not decide(OVERLAY, swarm, [*members[:2], leaving])[1][2].overlay


def test_what_each_is_told() -> None:
    swarm, members = running(1, 1)
    swarm, decided = decide(OVERLAY, swarm, members)
    lead = order_of(swarm, decided[0], decided, token="t", pool="p")
    assert (lead.role, lead.address, lead.begin, lead.recover) == (SwarmRole.MANAGER, "10.0.0.1", False, False)
    assert lead.pool == "", "only who begins needs it"
    assert lead.keep == (("s1", SwarmRole.MANAGER), ("s2", SwarmRole.MANAGER))
    assert order_of(swarm, decided[1], decided, token="t", pool="p").keep == ()
    nameless = [decided[0], replace(decided[1], seen=replace(seen(decided[1]), node=""))]
    assert order_of(swarm, decided[0], nameless, token="t", pool="p").keep == (), "it would be taken for a stranger"


# The agent's side.

LEAD = SwarmSeen(
    active=True, inside=True, node="s1", manager=True, ours=True, quorum=True,
    peers=(
        Peer(node="s1", manager=True, up=True, ready=True), Peer(node="s2", manager=False, up=True),
        Peer(node="s3", manager=True, up=False), Peer(node="s9", manager=False, up=False),
    ),
)  # fmt: skip
NET = NetworkSpec(name="tutela-x-overlay", service_id=number(9), subnet="", overlay=True)


def test_a_dead_manager_loses_its_vote_before_another_gets_one() -> None:
    keep = (("s1", SwarmRole.MANAGER), ("s2", SwarmRole.MANAGER), ("s3", SwarmRole.WORKER))
    order = SwarmOrder(role=SwarmRole.MANAGER, keep=keep)
    assert plan_swarm(order, LEAD, in_use=True) == (Drop(node="s9"), SetRole(node="s3", manager=False))
    demoted = replace(LEAD, peers=(*LEAD.peers[:2], replace(LEAD.peers[2], manager=False)))
    assert plan_swarm(order, demoted, in_use=True) == (SetRole(node="s2", manager=True),)
    promised = replace(demoted, peers=(LEAD.peers[0], replace(LEAD.peers[1], manager=True), demoted.peers[2]))
    assert plan_swarm(order, promised, in_use=True) == ()


def test_a_manager_that_is_alive_keeps_its_vote_until_another_has_one() -> None:
    keep = (("s1", SwarmRole.MANAGER), ("s2", SwarmRole.MANAGER), ("s3", SwarmRole.WORKER))
    order = SwarmOrder(role=SwarmRole.MANAGER, keep=keep, make=(NET,), remove=("old",))
    alive = replace(LEAD.peers[2], up=True, ready=True)
    lead = replace(LEAD, peers=(*LEAD.peers[:2], alive))
    networks = (Make(network=NET), Remove(name="old"))
    assert plan_swarm(order, lead, in_use=True) == (*networks, SetRole(node="s2", manager=True))
    promised = replace(lead, peers=(LEAD.peers[0], replace(LEAD.peers[1], manager=True), alive))
    assert plan_swarm(order, promised, in_use=True) == networks, "it has no vote yet"
    voting = replace(lead, peers=(LEAD.peers[0], replace(LEAD.peers[1], manager=True, ready=True), alive))
    assert plan_swarm(order, voting, in_use=True) == (*networks, SetRole(node="s3", manager=False))


def test_without_an_order_nothing_is_done_about_a_swarm() -> None:
    assert plan_swarm(SwarmOrder(), LEAD, in_use=False) == ()
    assert plan_swarm(SwarmOrder(), SwarmSeen(), in_use=False) == ()
    assert plan_swarm(SwarmOrder(role=SwarmRole.WORKER), SwarmSeen(), in_use=False) == (), "nobody to join yet"
    keep = SwarmOrder(role=SwarmRole.WORKER, make=(NET,), keep=(("s1", SwarmRole.MANAGER),))
    for lacks in ("manager", "ours", "quorum"):
        assert plan_swarm(keep, replace(LEAD, **{lacks: False}), in_use=True) == (), "only the lead can"  # type: ignore[arg-type]


def test_what_the_agent_does_once_and_not_again() -> None:
    begin = SwarmOrder(role=SwarmRole.MANAGER, begin=True, address="10.0.0.1", pool="p")
    assert plan_swarm(begin, SwarmSeen(), in_use=False) == (Begin(address="10.0.0.1", pool="p"),)
    assert plan_swarm(begin, LEAD, in_use=False) == ()
    recover = SwarmOrder(role=SwarmRole.MANAGER, recover=True, address="10.0.0.1")
    assert plan_swarm(recover, replace(LEAD, quorum=False), in_use=True) == (Recover(address="10.0.0.1"),)
    assert plan_swarm(recover, LEAD, in_use=True) == ()


# Properties.

STATES = st.builds(
    SwarmSeen,
    active=st.booleans(),
    inside=st.booleans(),
    node=st.sampled_from(["s1", "s2", "s3", "s4", "x"]),
    manager=st.booleans(),
    cluster=st.sampled_from(["c", "other"]),
    ours=st.booleans(),
    entered=st.booleans(),
    quorum=st.booleans(),
    stuck=st.booleans(),
    error=st.sampled_from(["", "live-restore"]),
)


@st.composite
def fleets(draw: st.DrawFn) -> list[Member]:
    return [
        member(
            n,
            silent=draw(st.sampled_from([0.0, 0.0, 10.0, LONG])),
            address=draw(st.sampled_from([f"10.0.0.{n}", f"10.0.0.{n}", ""])),
            seen=draw(st.one_of(st.none(), STATES)),
            role=draw(st.sampled_from(list(SwarmRole))),
            reset=draw(st.sampled_from(["", "s1", "x"])),
            overlay=draw(st.booleans()),
        )
        for n in range(1, draw(st.integers(1, 6)) + 1)
    ]


SWARMS = st.builds(
    Swarm,
    founder=st.sampled_from([None, number(1), number(4)]),
    cluster=st.sampled_from(["", "c"]),
    lead=st.sampled_from([None, number(1), number(2)]),
    recover=st.sampled_from([None, number(2)]),
)


def test_only_those_are_told_whose_order_is_another() -> None:
    swarm, members = running(2, 1)
    assert retold(swarm, members, swarm, members) == set()
    demoted = [members[0], replace(members[1], role=SwarmRole.WORKER), members[2]]
    # The lead is to demote it, and it makes no networks any more.
    assert retold(swarm, members, swarm, demoted) == {number(1), number(2)}


@given(st.sampled_from(list(NetworkMode)), SWARMS, fleets())
def test_deciding_is_stable_and_bounded(mode: NetworkMode, swarm: Swarm, members: list[Member]) -> None:
    after, decided = decide(mode, swarm, members)
    assert (after, decided) == decide(mode, swarm, list(reversed(members))), "the order of rows must not matter"
    assert len(managing(decided)) <= 3
    carrying = [each for each in decided if each.overlay]
    assert len(carrying) != 1
    if mode is not OVERLAY or len(members) < 2:
        assert after == Swarm()
        assert not carrying
    settled = after, decided
    for _ in range(3):
        settled = decide(mode, settled[0], settled[1])
    assert settled == decide(mode, settled[0], settled[1]), "nothing new without news"
    for each in decided:
        assert each.seen is None or not each.reset or each.reset == each.seen.node, "only what it is in can be left"


@given(SWARMS, fleets())
def test_only_the_lead_is_told_of_all(swarm: Swarm, members: list[Member]) -> None:
    managers = [each for each in members if each.seen and each.seen.manager]
    for each in members:
        if each.id != swarm.lead:
            assert order_of(swarm, each, managers, token="t", pool="p") == order_of(
                swarm, each, members, token="t", pool="p"
            )


@given(SWARMS, fleets(), SWARMS, fleets())
def test_news_is_for_those_who_are_told_something_else(
    before: Swarm, was: list[Member], after: Swarm, now: list[Member]
) -> None:
    """The token is the swarm's; whoever manages is told of networks too."""

    def told(swarm: Swarm, members: list[Member]) -> dict[UUID, object]:
        return {
            each.id: (order_of(swarm, each, members, token=swarm.cluster, pool="p"), makes_networks(each))
            for each in members
        }

    old, new = told(before, was), told(after, now)
    assert retold(before, was, after, now) == {each for each in new if new[each] != old.get(each)}
    assert retold(after, now, after, list(reversed(now))) <= {after.lead}, "who lists all, lists them by age"


def test_a_decision_about_many_compares_none_with_all_others() -> None:
    compared = 0

    class Compared(Member):
        __hash__ = None  # type: ignore[assignment]

        def __eq__(self, other: object) -> bool:
            nonlocal compared
            compared += 1
            return super().__eq__(other)

    def like(each: Member) -> Member:
        return Compared(**{name.name: getattr(each, name.name) for name in fields(Member)})

    swarm, members = running(3, 197)
    _, decided = decide(OVERLAY, swarm, [like(each) for each in members])
    assert len(decided) == 200
    assert compared == 0


@given(st.integers(1, 3), st.integers(0, 3), st.sets(st.integers(1, 6)))
def test_a_swarm_that_works_is_never_left(managers: int, workers: int, quiet: set[int]) -> None:
    """Whoever is silent, and for however long, as long as one manager can change something."""
    if managers + workers < 2:
        workers = 1
    swarm, members = running(managers, workers)
    members = [
        members[0],
        *(replace(each, silent=LONG) if n + 1 in quiet else each for n, each in enumerate(members[1:], 1)),
    ]
    after, decided = decide(OVERLAY, swarm, members)
    assert (after.cluster, after.founder, after.recover) == ("c", number(1), None)
    for each in decided:
        told = order_of(after, each, decided, token="t", pool="p")
        assert each.overlay
        assert not any(isinstance(step, Leave | Begin | Recover) for step in plan_swarm(told, seen(each), in_use=True))


def test_when_time_alone_changes_nothing() -> None:
    _, found = running(1, 2)
    assert at_rest(OVERLAY, found)
    assert at_rest(OVERLAY, [member(1)]), "one alone needs no swarm"
    assert not at_rest(OVERLAY, [*found, member(4)]), "what holds it back may be mended by hand"
    assert not at_rest(OVERLAY, [replace(found[0], silent=1.0), *found[1:]])
    assert at_rest(NetworkMode.PORTS, [member(1), member(2)])
    assert not at_rest(NetworkMode.PORTS, found)
    assert not at_rest(NetworkMode.PORTS, [member(1, reset="s1")])
    assert not at_rest(NetworkMode.PORTS, [member(1, overlay=True)])


def test_orders_that_ask_for_nothing_new() -> None:
    """What such an order asks for changes only when that is said."""
    assert SwarmOrder().quiet
    assert SwarmOrder(role=SwarmRole.WORKER, address="10.0.0.1", pool="10.0.0.0/8").quiet
    assert not SwarmOrder(begin=True).quiet
    assert not SwarmOrder(leave="c").quiet
    assert not SwarmOrder(join=("10.0.0.1",), token="t").quiet
    assert not SwarmOrder(keep=(("s1", SwarmRole.WORKER),)).quiet
    assert not SwarmOrder(remove=("n",)).quiet
