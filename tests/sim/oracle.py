"""What must be true after a run, worked out from the logs alone: dictionaries and loops, nothing of the engine.

It reads what producers sent and what the topics and the changelog hold in the end, and says in words what is wrong.
Where order matters it uses what a caller could know: an effect is *complete* when the offsets of the record that asked
for it, and of all inbox records that came of it, are committed. A decision respects what was complete before its ask.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from pipeline.codecs import avro, encrypted_values
from pipeline.codecs import envelope as envelopes
from pipeline.codecs import state as state_codec
from pipeline.codecs.encryption import DecryptionError
from pipeline.codecs.keyring import Keyring
from pipeline.core.model.records import DecisionRequest, FeedbackEvent, IdentityEvent, IdentityKind, InboxRecord
from pipeline.core.subject import Account, Erased, Person, Redirect, leads_to
from pipeline.flow import Record
from pipeline.runtime.memory import MemoryStore
from tests.sim.agreements import disagreements, traces
from tests.sim.consents import in_force
from tests.sim.finished import Finished, compacted
from tests.sim.names import as_early, members_of, newly, sets_of
from tests.sim.policies import ACCOUNT_CAP
from tests.sim.traffic import ACCOUNT
from topics.catalog import (
    BY_NAME,
    DAY_MS,
    DEAD_LETTERS,
    DECISION_AUDIT,
    DECISION_REPLIES,
    DECISION_REQUESTS,
    DECISIONS,
    ERASURE_RECEIPTS,
    ERASURE_REQUESTS,
    FEEDBACK_EVENTS,
    IDENTITY_EVENTS,
    PROFILE_INBOX,
)

CAP = 2


class Oracle:
    """One finished run under examination."""

    def __init__(self, sim: Finished) -> None:
        self.sim = sim
        self.wrong: list[str] = []
        self.keyring = Keyring(sim.key_encryption)
        #: By the hash under the old tenant key, whichever endpoint it came through.
        self.identity = [(record, as_early(event)) for record, event in self._inputs(IDENTITY_EVENTS.name)]
        self.feedback = [(record, as_early(event)) for record, event in self._inputs(FEEDBACK_EVENTS.name)]
        self.requests = [(record, as_early(event)) for record, event in self._inputs(DECISION_REQUESTS.name)]
        #: Whether the tenant key is changed: records of one identifier then lie on two partitions.
        self.rotates = any(record.key != event.subject.encode()
                           for record, event in (*self.identity, *self.feedback, *self.requests))
        self.inbox = self._inputs(PROFILE_INBOX.name)
        #: Who says that which identifier belongs to which profile: event, identifier, profile.
        self.aliases = [(e, e.subject, e.alias_of) for _, e in self.identity if e.alias_of] + [
            (e, f"shop/{one.hash}", e.subject) for _, e in self.identity for one in e.identifiers]
        self.consents = [(r, e) for r, e in self.identity if e.consent]
        subjects = {e.subject for _, e in (*self.identity, *self.feedback, *self.requests)}
        self.sets = sets_of(subjects, ((old, new) for _, old, new in self.aliases))
        #: The sets in which a merge was undone: they are one profile at some times and several at others.
        self.parted = {self.sets[e.subject] for _, e in self.identity if e.kind is IdentityKind.UNMERGE}
        self._asked_for: dict[str, str] = {e.request_id: e.subject for _, e in self.requests}
        self.erased = {self.sets[name] for name in sim.forgotten if name in self.sets}
        self.ringed = self._ringed({old: new for _, old, new in self.aliases})
        self.states = self._states()
        self._done: dict[str, int] = {}
        self._read: dict[str, list[tuple[Record, Any]]] = {}
        self._records: dict[str, list[Record]] = defaultdict(list)
        for record, event in (*self.identity, *self.feedback, *self.requests, *self.inbox):
            self._records[_id(event)].append(record)

    def judge(self) -> list[str]:
        """Everything that is wrong; empty where the promises were kept."""
        self._nothing_lost()
        self._forgotten_is_gone()
        self._one_profile_each()
        if not self.rotates:
            self.wrong += [*disagreements(self.states, self._leads_to, lambda key: self.sets.get(key) in self.ringed),
                           *traces(self.states)]
        self._one_answer_each()
        self._decisions_explained()
        self._nothing_miscounted()
        self._consent_and_caps_kept()
        if self.sim.accounts:
            self._accounts_caps_kept()
        self.wrong += self.sim.misdeeds[:3]
        return self.wrong

    def _ringed(self, aliases: dict[str, str]) -> set[str]:
        """The sets in which aliases form a ring. While a ring is being undone, some of its members' state is under way
        and a repeated event or request may be taken for a new one: what is known to hold then is checked, no more."""
        ringed = set()
        for start in aliases:
            name = start
            for _ in aliases:
                name = aliases.get(name, name)
                if name == start:
                    ringed.add(self.sets[start])
        return ringed

    # -- reading --------------------------------------------------------------------------------------------------

    def _inputs(self, topic: str) -> list[tuple[Record, Any]]:
        found = []
        for record in self.sim.cluster.records(topic):
            try:
                found.append((record, avro.decode(BY_NAME[topic], record.value or b"")))
            except avro.CodecError:
                continue
        return found

    def _outputs(self, topic: Any) -> list[tuple[Record, Any]]:
        if topic.name not in self._read:
            self._read[topic.name] = [
                (record, self.keyring.value(topic, record.key, record.value))
                for record in self.sim.cluster.records(topic.name)
            ]
        return self._read[topic.name]

    def _readable(self, topic: Any) -> list[tuple[Record, Any]]:
        """Those that are not an erased subject's."""
        return [(record, value) for record, value in self._outputs(topic) if value.encrypted is None]

    def _states(self) -> dict[str, Any]:
        """What a new worker would read, after the log was compacted; must be what the present owner has, but for an
        outbox that the broker has acknowledged."""
        states = {}
        for partition, changelog in enumerate(self.sim.cluster.changelogs):
            fresh = MemoryStore()
            fresh.load((c.key, c.value, c.offset) for c in compacted(changelog.changes))
            owners = [w for w in self.sim.workers if partition in w.lanes.partitions()]
            kept = dict(owners[0].lanes.store(partition).items()) if owners else {}
            found = dict(fresh.items())
            for key in sorted(kept.keys() | found.keys()):
                if kept.get(key) not in ((value := found.get(key)), value and envelopes.settled(value)):
                    self.wrong.append(f"recovered state of {key!r} differs from its owner's")
            for key, value in found.items():
                self.keyring.learn(key, value)
                try:
                    state = encrypted_values.opened(self.sim.key_encryption, key, value)[0].state
                except DecryptionError as error:
                    self.wrong.append(f"the value of {key!r} cannot be opened: {error}")
                    continue
                if state is not None:
                    states[key.decode()] = state_codec.decode(state)
        return states

    def done_ms(self, name: str) -> int:
        """When the effects of an event or request were complete: its first record's, and those it sent on."""
        if name not in self._done:
            records = self._records[name]
            completed = self.sim.cluster.completed_ms
            direct = [r for r in records if r.topic != PROFILE_INBOX.name]
            first = min(direct, key=lambda r: (r.at_ms, r.offset))
            until = completed[first.topic, first.partition, first.offset]
            for onward in sorted((r for r in records if r not in direct), key=lambda r: r.at_ms):
                if onward.at_ms <= until:
                    until = max(until, completed[onward.topic, onward.partition, onward.offset])
            self._done[name] = until
        return self._done[name]

    # -- promises -------------------------------------------------------------------------------------------------

    def _nothing_lost(self) -> None:
        """Every input has its effect; what cannot be read has a dead letter with its bytes."""
        letters = {(e.topic, e.partition, e.offset): e.value for _, e in self._readable(DEAD_LETTERS)}
        erased = {(e.topic, e.partition, e.offset) for _, e in self._outputs(DEAD_LETTERS) if e.encrypted is not None}
        for topic in (IDENTITY_EVENTS.name, FEEDBACK_EVENTS.name, DECISION_REQUESTS.name):
            readable = {(r.partition, r.offset) for r, _ in self._inputs(topic)}
            for record in self.sim.cluster.records(topic):
                where = (topic, record.partition, record.offset)
                unread = (record.partition, record.offset) not in readable and where not in erased
                if unread and letters.get(where) != record.value:
                    self.wrong.append(f"no dead letter for {where}")
                if where in letters and (record.partition, record.offset) in readable:
                    self.wrong.append(f"a dead letter for the good record {where}")
        answered = {e.request_id for _, e in self._outputs(DECISION_REPLIES)}
        unanswered = {e.request_id for _, e in self.requests} - answered
        lost = [name for name in sorted(unanswered) if all(e.deadline_ms is None for _, e in self.requests
                                                           if e.request_id == name)]
        if lost:
            self.wrong.append(f"no reply to {lost}")

    def _forgotten_is_gone(self) -> None:
        """Whoever asked has a receipt for every identifier that was theirs; nothing of these is left or comes back."""
        receipts = [e for _, e in self._outputs(ERASURE_RECEIPTS)]
        for _, request in self._inputs(ERASURE_REQUESTS.name):
            mine = [e for e in receipts if e.job_id == request.job_id]
            whole = [e for e in mine if e.part_of is None]
            if not whole:
                self.wrong.append(f"no receipt for {request.job_id}")
            missing = {name for e in whole for name in e.identifiers} - {e.profile_id for e in mine}
            if missing:
                self.wrong.append(f"no receipt for {sorted(missing)} of {request.job_id}")
        for name in {e.profile_id for e in receipts}:
            state = self.states.get(name)
            if not isinstance(state, Erased):
                self.wrong.append(f"{name} was erased and is {state}")
            if name.encode() in self.keyring.wrapped:
                self.wrong.append(f"{name} was erased and has a key")
        for name in self.states:
            end = self.states.get(self._leads_to(name))
            if isinstance(end, Erased) and not isinstance(self.states[name], Erased):
                self.wrong.append(f"{name} belongs to somebody erased and is not")
        for _, decision in self._outputs(DECISIONS):
            if decision.encrypted is not None and not receipts:
                self.wrong.append(f"decision {decision.decision_id} cannot be opened")

    def _one_profile_each(self) -> None:
        """Each set of identifiers has one profile, every identifier leads to it, and it knows the newest of all."""
        for members in members_of(self.sets):
            if self.sets[members[0]] in self.erased:
                continue
            keys = self._kept(members)
            holders = [name for name in keys if not isinstance(self.states[name], Redirect)]
            if self.sets[members[0]] in self.parted:
                continue
            events = [e for _, e in (*self.identity, *self.feedback) if e.subject in members]
            if len(holders) > 1 or (events and not holders):
                self.wrong.append(f"{members} have the profiles {holders}")
                continue
            if not holders:
                continue
            for name in keys:
                if self._leads_to(name) != holders[0]:
                    self.wrong.append(f"{name} leads to {self._leads_to(name)}, not {holders[0]}")
            self._knows_the_newest(members, self.states[holders[0]])

    def _kept(self, members: Iterable[str]) -> list[str]:
        """Every key under which something is kept about them."""
        return [key for name in members for key in dict.fromkeys((name, newly(name))) if key in self.states]

    def _leads_to(self, name: str) -> str:
        for _ in self.states:
            state = self.states.get(name)
            if (to := leads_to(state)) is None:
                return name
            name = to
        return "itself"

    def _knows_the_newest(self, members: list[str], state: Person) -> None:
        mine = [e for _, e in self.identity if e.subject in members]
        traits = [e for e in mine if e.traits]
        if traits:
            newest = max(traits, key=lambda e: e.at_ms).traits["plan"]
            if "plan" not in state.traits or state.traits["plan"].value != newest:
                self.wrong.append(f"plan of {members} is {state.traits.get('plan')}, not {newest}")
        grants = [e.consent[0] for e in mine if e.consent]
        if grants:
            kept, answer = state.consent.get("personalization"), max(grants, key=lambda g: g.at_ms)
            if not in_force(kept, answer, grants):
                self.wrong.append(f"consent of {members} is {kept}, not {answer}")

    def _one_answer_each(self) -> None:
        """Whoever asks under a request id is told the same, byte for byte."""
        answers: dict[str, set[bytes | None]] = defaultdict(set)
        for record, reply in self._outputs(DECISION_REPLIES):
            answers[reply.request_id].add(record.value)
        for name, versions in answers.items():
            if len(versions) > 1 and self.sets[self._subject(name)] not in self.ringed | self.erased:
                self.wrong.append(f"{len(versions)} different replies to {name}")

    def _decisions_explained(self) -> None:
        """One decision, one audit and one reply of each request that was decided, whatever was sent twice."""
        decisions, audits = _versions(self._readable(DECISIONS)), _versions(self._readable(DECISION_AUDIT))
        replies = {e.decision_id: e for _, e in self._outputs(DECISION_REPLIES)
                   if not e.error and self.sets[self._subject(e.request_id)] not in self.erased}
        ringed = {e.decision_id for _, e in self._readable(DECISIONS)
                  if self.sets[self._subject(e.request_id)] in self.ringed}
        theirs = {e.decision_id for _, e in self._readable(DECISIONS)
                  if self.sets[self._subject(e.request_id)] in self.erased}
        decisions = {name: values for name, values in decisions.items() if name not in theirs}
        audits = {name: values for name, values in audits.items() if name not in theirs}
        for what, versions in (("decision", decisions), ("audit", audits)):
            for name, values in versions.items():
                if len(values) > 1 and name not in ringed:
                    self.wrong.append(f"{len(values)} different {what} records of {name}")
        if decisions.keys() != audits.keys():
            self.wrong.append(f"decisions without audit or the reverse: {sorted(decisions.keys() ^ audits.keys())}")
        if decisions.keys() != replies.keys():
            self.wrong.append(f"decisions without reply or the reverse: {sorted(decisions.keys() ^ replies.keys())}")
        for _, decision in self._readable(DECISIONS):
            reply = replies.get(decision.decision_id)
            if reply is not None and decision.decision_id not in ringed and reply.decisions != decision.decisions:
                self.wrong.append(f"the reply to {decision.request_id} says something else than its decision")

    def _nothing_miscounted(self) -> None:
        """Counters hold each click and each decision once, through every merge and recovery."""
        shown: dict[tuple[str, str], set[str]] = defaultdict(set)
        for _, decision in self._readable(DECISIONS):
            subject = self._subject(decision.request_id)
            for chosen in decision.decisions:
                if not chosen.fallback:
                    shown[self.sets[subject], f"twice_a_day|{chosen.item_id}"].add(decision.decision_id)
        for _, event in self.feedback:
            shown[self.sets[event.subject], f"clicked|{event.item_id}"].add(event.event_id)
        for members in members_of(self.sets):
            if self.sets[members[0]] in self.ringed | self.erased:
                continue
            counted: dict[str, int] = defaultdict(int)
            for name in self._kept(members):
                state = self.states[name]
                for key, counter in (state.counters if isinstance(state, Person) else {}).items():
                    counted[key] += counter.total
            expected = {key: len(ids) for (root, key), ids in shown.items() if root == self.sets[members[0]]}
            for key in sorted(counted.keys() | expected.keys()):
                if counted[key] != expected.get(key, 0):
                    self.wrong.append(f"{members} counted {counted[key]} for {key}, not {expected.get(key, 0)}")

    def _subject(self, request_id: str) -> str:
        return self._asked_for[request_id]

    def _consent_and_caps_kept(self) -> None:
        """No decision against what was complete when it was asked for."""
        decided = {e.request_id: (r, e) for r, e in reversed(self._readable(DECISIONS))}
        asked: dict[str, Record] = {}
        for record, request in sorted(self.requests, key=lambda pair: pair[0].at_ms):
            asked.setdefault(request.request_id, record)
        for name, (record, decision) in decided.items():
            chosen = [one.item_id for one in decision.decisions if not one.fallback]
            if not chosen or self.sets[self._subject(name)] in self.ringed | self.parted | self.erased:
                continue
            subject, at_ms = self._subject(name), asked[name].at_ms
            known = self._known(subject, at_ms)
            self._consented(name, subject, known, at_ms, record.at_ms)
            for item in chosen:
                before = [
                    other for other, (_, d) in decided.items()
                    if other != name and self._subject(other) in known and self.done_ms(other) < at_ms
                    and d.at_ms > decision.at_ms - DAY_MS and any(c.item_id == item and not c.fallback
                                                                  for c in d.decisions)
                ]
                if len(before) >= CAP:
                    self.wrong.append(f"{name} shows {item} to {subject} though {sorted(before)} had")

    def _accounts_caps_kept(self) -> None:
        """Never more decisions of all its members together than the account's cap; every lease is settled."""
        joined = {e.subject: e.event_id for _, e in self.identity if e.membership}
        asked: dict[str, int] = {}
        for record, request in self.requests:
            asked[request.request_id] = min(record.at_ms, asked.get(request.request_id, record.at_ms))
        shown = {}
        for _, decision in self._outputs(DECISIONS):
            subject = self._subject(decision.request_id)
            if self.done_ms(joined[subject]) < asked[decision.request_id] and not decision.fallback:
                shown[decision.decision_id] = decision.at_ms
        times = sorted(shown.values())
        for first, last in zip(times, times[ACCOUNT_CAP:], strict=False):
            if last - first < DAY_MS:
                self.wrong.append(f"members of the account were shown {ACCOUNT_CAP + 1} within {last - first} ms")
        kept = (self.states.get(key) for key in (newly(ACCOUNT), ACCOUNT))
        account = next((state for state in kept if isinstance(state, Account)), Account())
        for key, counter in account.counters.items():
            taken = {e.decision_id for _, e in self._outputs(DECISION_AUDIT) if e.lease is not None and not e.fallback}
            if counter.held:
                self.wrong.append(f"leases of {key} were not settled: {sorted(counter.held)}")
            if counter.total != len(taken) and not self.ringed:
                self.wrong.append(f"the account counted {counter.total} for {key}, not {len(taken)}")

    def _known(self, subject: str, at_ms: int) -> set[str]:
        """The identifiers that were known to be this subject's."""
        done = [(old, new) for event, old, new in self.aliases if self.done_ms(event.event_id) < at_ms]
        sets = sets_of({subject}, done)
        return {name for name, root in sets.items() if root == sets[subject]}

    def _consented(self, name: str, subject: str, known: set[str], at_ms: int, decided_ms: int) -> None:
        given = [(r, e.consent[0]) for r, e in self.consents if self.sets[e.subject] == self.sets[subject]]
        if not any(grant.granted and r.at_ms <= decided_ms for r, grant in given):
            self.wrong.append(f"{name} was decided for {subject} without any consent")
        complete = [e.consent[0] for _, e in self.consents
                    if e.subject in known and self.done_ms(e.event_id) < at_ms]
        alone = len([n for n in self.sets.values() if n == self.sets[subject]]) == 1 and not self.rotates
        if self.sim.in_order and alone:
            # Nothing is fetched out of order here: a withdrawal counts from when it was appended.
            complete += [grant for r, grant in given if r.at_ms < at_ms]
        last = max(complete, key=lambda grant: grant.at_ms, default=None)
        if last is not None and not last.granted and not any(
            grant.granted and grant.at_ms > last.at_ms and r.at_ms <= decided_ms for r, grant in given
        ):
            self.wrong.append(f"{name} was decided for {subject} after consent was withdrawn")


def judge(sim: Finished) -> list[str]:
    """What is wrong after the run."""
    return Oracle(sim).judge()


def _id(event: IdentityEvent | FeedbackEvent | DecisionRequest | InboxRecord) -> str:
    if isinstance(event, InboxRecord) and event.lease is not None and event.request is not None:
        return event.request.request_id
    return event.request_id if isinstance(event, DecisionRequest) else event.event_id


def _versions(outputs: list[tuple[Record, Any]]) -> dict[str, set[bytes | None]]:
    versions: dict[str, set[bytes | None]] = defaultdict(set)
    for record, event in outputs:
        versions[event.decision_id].add(record.value)
    return versions
