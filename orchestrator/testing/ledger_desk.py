"""Does a ledger keep what a service needs: tokens, receipts, an audit, deletions, pages?"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from orchestrator.ground.errors import Fenced, KeyUsed, MoveRefused, NameTaken, NotFound
from orchestrator.ledger import Store
from orchestrator.ledger.records import (
    AuditLine,
    HostState,
    Receipt,
    Role,
    Session,
    StudyState,
    Token,
    TrialState,
    trial_id,
)
from orchestrator.testing.ledger_rows import (
    DONE,
    T0,
    T1,
    OpenedLedger,
    Opener,
    attempt,
    event,
    everything,
    host,
    led,
    refusal,
    study,
    trial,
    with_live_attempt,
)

ADA = Token("ada", "d1", Role.ADMIN, created_at=1.0, expires_at=100.0)


RECEIPT = Receipt("ada/k", "d", "s1", {"study": "Größe", "created": True})


# -- deletions -----------------------------------------------------------------------------------------------
def _ended(ledger: Store) -> int:
    """Study s1, completed, with a trial that ran and one that did not; another study beside it."""
    epoch = with_live_attempt(ledger)
    ledger.append(epoch, [event(1), event(2)])
    ledger.end_attempt(epoch, T0, 1, DONE)
    ledger.move_trial(epoch, T1, TrialState.WAITING, TrialState.STOPPED, at=1.0)
    ledger.wish("s1", "pause", {}, asked_at=1.0, asked_by="ada")
    ledger.create_study(study("s2", created_at=2.0))
    return epoch


class DeskContract(OpenedLedger):
    """Tokens, sessions, receipts, the audit, deletions, pages."""

    # -- hosts -----------------------------------------------------------------------------------------------
    def test_hosts_are_those_that_the_leader_saw_last(self, opener: Opener) -> None:
        ledger = opener()
        epoch = led(ledger)
        assert ledger.hosts() == []
        aside = host("a", state=HostState.SET_ASIDE, reason="Its disk is full.")
        ledger.see_hosts(epoch, [host("b"), aside])
        assert opener().hosts() == [aside, host("b")]
        ledger.see_hosts(epoch, [host("b", since=60.0)])
        assert ledger.hosts() == [host("b", since=60.0)]

    def test_what_people_ask_of_a_host_outlives_what_the_leader_sees(self, opener: Opener) -> None:
        ledger, person = opener(), opener()
        epoch = led(ledger)
        ledger.see_hosts(epoch, [host("a"), host("b")])
        assert person.drain_host("b", by="ada") == host("b", drained_by="ada")
        ledger.see_hosts(epoch, [host("a"), host("b", state=HostState.DRAINED)])
        assert ledger.hosts()[1] == host("b", state=HostState.DRAINED, drained_by="ada")
        ledger.see_hosts(epoch, [host("a")])
        assert ledger.hosts()[1] == host("b", state=HostState.GONE, drained_by="ada")
        ledger.see_hosts(epoch, [host("b", since=70.0)])
        assert ledger.hosts() == [host("b", since=70.0, drained_by="ada")]
        assert person.drain_host("b", by="").drained_by == ""
        ledger.see_hosts(epoch, [])
        assert ledger.hosts() == []

    def test_a_host_that_was_never_seen_is_not_drained(self, ledger: Store) -> None:
        ledger.see_hosts(led(ledger), [host("worker-1")])
        assert refusal(NotFound, lambda: ledger.drain_host("worker1", by="ada")) == (
            "There is no host 'worker1'. Did you mean 'worker-1'? `orch hosts` shows all."
        )

    def test_why_a_study_waits_is_kept_and_taken_back(self, opener: Opener) -> None:
        ledger = opener()
        epoch = with_live_attempt(ledger)
        ledger.study_waits(epoch, "s1", "It waits.")
        assert opener().study("s1") == study(waits="It waits.")
        ledger.study_waits(epoch, "s1", "")
        assert ledger.study("s1") == study()

    def test_a_ledger_has_one_id_for_ever(self, opener: Opener) -> None:
        first = opener().ledger_id()
        assert len(first) == 16
        assert [opener().ledger_id(), opener().ledger_id()] == [first, first]

    # -- tokens ----------------------------------------------------------------------------------------------
    def test_a_token_is_found_by_its_digest_alone(self, opener: Opener) -> None:
        ledger = opener()
        ledger.add_token(ADA)
        bob = Token("bob", "d2", Role.READ, created_at=2.0)
        ledger.add_token(bob)
        assert opener().token("d1") == ADA
        assert ledger.token("ada") is None
        assert ledger.tokens() == [ADA, bob]

    def test_a_token_is_replaced_only_once_it_is_no_longer_valid(self, ledger: Store) -> None:
        ledger.add_token(ADA)
        refused = refusal(MoveRefused, lambda: ledger.add_token(replace(ADA, digest="d2", created_at=50.0)))
        assert (
            refused == "A token named 'ada' exists. Choose another name, or revoke it: orch token revoke ada"
        )
        ledger.add_token(
            replace(ADA, digest="d2", created_at=100.0, expires_at=None)
        )  # the first has expired
        assert (ledger.token("d1"), len(ledger.tokens())) == (None, 1)
        revoked = ledger.revoke_token("ada", at=120.0)
        assert not revoked.valid(120.0)
        assert ledger.revoke_token("ada", at=130.0) == revoked == ledger.token("d2")
        ledger.add_token(replace(ADA, digest="d3", created_at=140.0))
        refusal(NotFound, lambda: ledger.revoke_token("nobody", at=1.0))

    def test_a_token_is_valid_until_the_moment_it_expires(self) -> None:
        assert [ADA.valid(at) for at in (1.0, 99.9, 100.0)] == [True, True, False]
        assert [Role.RUN.covers(role) for role in Role] == [True, True, False]

    # -- sessions --------------------------------------------------------------------------------------------
    def test_a_session_is_found_by_its_digest_until_it_is_ended(self, opener: Opener) -> None:
        ledger = opener()
        one, two = (Session(d, "d1", created_at=1.0, expires_at=9.0) for d in ("s1", "s2"))
        ledger.add_session(one)
        ledger.add_session(two)
        assert (opener().session("s1"), ledger.session("d1")) == (one, None)
        ledger.end_session("s1")
        ledger.end_session("s1")  # once more: nothing
        assert (opener().session("s1"), opener().session("s2")) == (None, two)

    def test_sessions_that_have_expired_are_forgotten_when_another_begins(self, ledger: Store) -> None:
        old, new = Session("s1", "d1", 1.0, 9.0), Session("s2", "d1", 9.0, 20.0)
        ledger.add_session(old)
        assert ledger.session("s1") == old
        assert [old.valid(at) for at in (8.9, 9.0)] == [True, False]
        ledger.add_session(new)
        assert (ledger.session("s1"), ledger.session("s2")) == (None, new)

    # -- receipts --------------------------------------------------------------------------------------------
    def test_a_receipt_is_kept_with_its_study_or_not_at_all(self, ledger: Store) -> None:
        ledger.create_study(study(), receipt=RECEIPT)
        assert ledger.receipt("ada/k") == RECEIPT
        refusal(
            NameTaken,
            lambda: ledger.create_study(study("s2", name="name-s1"), receipt=replace(RECEIPT, key="b")),
        )
        assert ledger.receipt("b") is None
        refusal(KeyUsed, lambda: ledger.create_study(study("s2"), receipt=RECEIPT))
        assert [s.study_id for s in ledger.studies()] == ["s1"]

    def test_of_fifty_creations_with_one_key_one_succeeds(self, opener: Opener) -> None:
        ledger = opener()

        def create(i: int) -> str:
            try:
                return ledger.create_study(
                    study(f"s{i}", name="same"), receipt=replace(RECEIPT, study_id=f"s{i}")
                ).study_id
            except KeyUsed:
                return "used"

        with ThreadPoolExecutor(50) as pool:
            results = list(pool.map(create, range(50)))
        [created] = [r for r in results if r != "used"]
        kept = ledger.receipt("ada/k")
        assert kept is not None
        assert kept.study_id == created

    # -- the audit -------------------------------------------------------------------------------------------
    def test_audit_lines_come_newest_first(self, ledger: Store) -> None:
        lines = [AuditLine(float(at), "ada\0", "POST", f"/{at}", 201) for at in (2, 3, 1)]
        for line in lines:
            ledger.audit(line)
        assert [line.path for line in ledger.audited()] == ["/3", "/2", "/1"]
        assert [line.path for line in ledger.audited(limit=1)] == ["/3"]
        assert ledger.audited()[0].who == "ada\ufffd"

    # -- leadership ------------------------------------------------------------------------------------------
    def test_who_leads_can_be_asked_without_leading(self, opener: Opener) -> None:
        first, second = opener(), opener()
        assert second.leader() is None
        epoch = first.lead("a")
        assert (first.leader(), second.leader()) == ("a", "a")
        first.release(epoch)
        assert (first.leader(), second.leader()) == (None, None)
        assert second.lead("b") == 2  # to ask made no epoch

    def test_a_deleted_study_is_gone_whole_and_the_others_stay(self, opener: Opener) -> None:
        ledger = opener()
        other = opener()
        epoch = _ended(ledger)
        ledger.move_study(epoch, "s1", StudyState.RUNNING, StudyState.COMPLETED)
        (wish,) = ledger.wishes("s1")
        ledger.delete_study(epoch, "s1")
        assert other.asked(wish.wish_id) is None
        after = everything(other)
        assert after == ([study("s2", created_at=2.0)], [], [], [], [], [{}], [[]], [], [])
        refusal(NotFound, lambda: ledger.study("s1"))
        refusal(NotFound, lambda: ledger.trial(T0))
        assert (ledger.attempts(T0), ledger.trials("s1"), ledger.events(study_id="s1")) == ([], [], [])
        ledger.delete_study(epoch, "s1")  # once more: nothing
        assert everything(other) == after
        ledger.create_study(study())  # its name and id are free

    def test_the_ids_of_deleted_events_are_not_given_out_again(self, opener: Opener) -> None:
        ledger = opener()
        epoch = _ended(ledger)
        ledger.move_study(epoch, "s1", StudyState.RUNNING, StudyState.CANCELLED)
        ledger.delete_study(epoch, "s1")
        assert opener().newest_event() == 2
        two = trial_id("s2", "bo", 0, 0)
        ledger.add_trial(epoch, trial(trial_id=two, study_id="s2"))
        ledger.start_attempt(epoch, attempt(two))
        ledger.append(epoch, [event(1, of=two)])
        assert [s.event_id for s in ledger.events(after=2)] == [3]
        assert ledger.newest_event() == 3

    def test_a_study_that_goes_on_is_not_deleted(self, opener: Opener) -> None:
        ledger = opener()
        epoch = with_live_attempt(ledger)
        assert refusal(MoveRefused, lambda: ledger.delete_study(epoch, "s1")) == (
            "The study name-s1 has not ended and cannot be deleted. Cancel it first."
        )
        ledger.move_study(epoch, "s1", StudyState.RUNNING, StudyState.CANCELLED)
        before = everything(ledger)
        assert "still stopping" in refusal(MoveRefused, lambda: ledger.delete_study(epoch, "s1"))
        refusal(Fenced, lambda: ledger.delete_study(epoch + 1, "s1"))
        assert everything(ledger) == before

    # -- pages -----------------------------------------------------------------------------------------------
    @pytest.mark.parametrize("limit", [1, 2, 5])
    def test_pages_of_trials_go_on_behind_the_last_one(self, ledger: Store, limit: int) -> None:
        epoch = led(ledger)
        ledger.create_study(study())
        places = [(arm, r, i) for arm in ("a", "B", "Ä") for r in (0, 1) for i in (2, 10)]
        for arm, r, i in places:
            ledger.add_trial(epoch, trial(trial_id=trial_id("s1", arm, r, i), arm=arm, replicate=r, index=i))
        seen: list[tuple[str, int, int]] = []
        while page := ledger.trials("s1", limit=limit, after=seen[-1] if seen else None):
            seen += [(t.arm, t.replicate, t.index) for t in page]
        assert seen == sorted(places)
