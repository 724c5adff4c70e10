"""Two controllers that both believe they lead, with clocks four minutes apart, crashes, conflicts, and time; and a strict provider.

They do with one token Secret what ``decide`` and ``publish`` say, in any order that hypothesis can think of.
"""

from dataclasses import dataclass, field, replace
from datetime import timedelta

import hypothesis.strategies as st
from hypothesis import Phase, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from cube_oauth.controller.rotation import CLAIM, MARGIN, REQUEST
from cube_oauth.lifecycle.decide import DropAccessToken, Observed, Refresh, Wait, Withdraw, decide, state_of
from cube_oauth.lifecycle.publish import claimed, denied, ended, granted, merged, withdrawn, without_access_token
from cube_oauth.resources.secrets import Claim, TokenSecret
from cube_oauth.resources.usercredential import State
from tests.unit.lifecycle.samples import HOUR, NOW, SECOND, TOKEN_URL, app, credential, issued, observed

SKEW = timedelta(minutes=2)


DENIED = "access_denied"


class ConflictError(Exception):
    """Somebody else wrote."""


class Provider:
    """Refresh tokens work once; one that comes twice ends the sign-in (RFC 9700, section 4.14.2)."""

    def __init__(self):
        self.count, self.live, self.used, self.reused = 0, None, set(), set()
        self.permits = True
        """Its policy: while it does not, whoever comes is refused, and what they brought is as good as before."""

    def sign_in(self):
        self.count += 1
        self.live = f"refresh-{self.count}"
        return self.live

    def redeem(self, token):
        """The next refresh token, or None: invalid_grant, or DENIED."""
        if not self.permits:
            return DENIED
        if token in self.used:
            self.reused.add(token)
            self.live = None
        if token != self.live:
            return None
        self.used.add(token)
        return self.sign_in()


@dataclass
class Attempt:
    token: TokenSecret
    claim: Claim
    default_seconds: int
    sent_at: object = None
    answer: object = None
    refused: bool = False
    denied: bool = False


@dataclass
class Controller:
    name: str
    skew: timedelta
    view: TokenSecret | None = None
    seen: dict = field(default_factory=dict)
    released: str | None = None
    attempt: Attempt | None = None


def needs_a_person(token):
    return token.refresh_token is None or token.record.denied


class Life(RuleBasedStateMachine):
    controllers = Bundle("controllers")

    def __init__(self):
        super().__init__()
        self.now, self.version, self.claims = NOW, 0, 0
        self.provider, self.stored = Provider(), None
        self.suspended, self.app, self.last_used = False, app(refresh={"onlyWhileUsedSeconds": 600}), None
        self.excused, self.highest = set(), 0
        self.both, self.flying = [], {}
        """The refresh tokens under way, with the time of their sending, by controller."""

    @initialize(target=controllers)
    def first(self):
        self.signs_in()
        self.now, self.last_used = NOW + 3000 * SECOND, NOW + 3000 * SECOND
        return self.started(Controller("first", -SKEW))

    @initialize(target=controllers)
    def second(self):
        return self.started(Controller("second", SKEW))

    def started(self, one):
        self.both.append(one)
        return one

    # ---- the API server

    def write(self, token):
        there = self.stored.resource_version if self.stored else None
        if token.resource_version != there:
            raise ConflictError
        self.version += 1
        before, self.stored = self.stored, replace(token, resource_version=str(self.version))
        if before is not None and before.refresh_token and before.record.grant == self.stored.record.grant:
            assert self.stored.refresh_token or self.stored.record.ended, "a refresh token was overwritten with nothing"
        return self.stored

    # ---- the world

    @rule(seconds=st.sampled_from([1, 5, 11, 31, 90, 3000, 3000, 4000, 100_000]))
    def time_passes(self, seconds):
        self.later(seconds)

    def later(self, seconds):
        self.now += seconds * SECOND
        for one in self.both:
            if one.attempt and one.attempt.answer and self.now + one.skew >= one.attempt.claim.deadline:
                self.excused.add(one.attempt.token.refresh_token)  # it slept with the answer in its hands, as if it had died

    @precondition(lambda self: self.app and not self.suspended and (self.stored is None or needs_a_person(self.stored)))
    @rule()
    def somebody_signs_in(self):
        self.signs_in()

    @precondition(lambda self: self.app and not self.suspended and self.flying)
    @rule()
    def somebody_signs_in_once_more_meanwhile(self):
        self.signs_in()

    def signs_in(self):
        answer = issued(access_token=f"access-{self.provider.count}", refresh_token=self.provider.sign_in(), issued_at=self.now)
        there = observed(token=self.stored, app=self.app)
        self.write(granted(there, answer, f"grant-{self.provider.count}", TOKEN_URL, None))

    @rule(suspended=st.sampled_from([False] * 8 + [True]), there=st.sampled_from([True] * 8 + [False]))
    def somebody_asks_or_suspends_or_deletes(self, suspended, there):
        self.last_used, self.suspended = self.now, suspended
        self.app = app(refresh={"onlyWhileUsedSeconds": 600}) if there else None

    @rule(permits=st.sampled_from([True, True, False]))
    def the_providers_policy_changes(self, permits):
        self.provider.permits = permits

    # ---- a controller

    def observed(self, who):
        demand = {"lastUsedAt": self.last_used} if self.last_used else None
        view, claim = who.view, who.view.claim if who.view else None
        if claim:
            who.seen.setdefault(claim.id, self.now + who.skew)
        return Observed(
            credential(suspend=self.suspended, **({"demand": demand} if demand else {})),
            self.app,
            app_ready=self.app is not None,
            token=view,
            released_claim=who.released,
            claim_seen_at=who.seen.get(claim.id) if claim else None,
        )

    @precondition(lambda self: self.stored is not None)
    @rule(
        who=controllers,
        behind=st.sampled_from([False, False, True]),
        heard=st.sampled_from([True, True, True, False]),
        steps=st.integers(1, 5),
    )
    def goes_on(self, who, behind, heard, steps):
        """Some steps without a pause."""
        for _ in range(steps):
            self.one_step(who, behind, heard)

    def one_step(self, who, behind, heard):
        """Look, send, be served, write."""
        attempt = who.attempt
        if attempt is None:
            self.looks(who, behind)
        elif attempt.sent_at is None:
            self.sends(who, behind)
        elif attempt.answer is None and not attempt.refused:
            self.the_provider_serves(who, heard)
        else:
            self.writes_what_came(who)

    def looks(self, who, behind):
        """Decide, and do what needs no network; a refresh goes as far as its claim. The watch may lag ``behind``."""
        who.view = who.view if behind else self.stored
        seen, now = self.observed(who), self.now + who.skew
        decision = decide(seen, now)
        try:
            match decision:
                case Wait(until):
                    assert until is None or until > now
                case DropAccessToken():
                    who.view = self.write(without_access_token(seen.token))
                case Withdraw(reason):
                    assert self.suspended or self.app is None
                    who.view = self.write(withdrawn(seen.token, reason))
                case Refresh():
                    self.claim(who, seen, now)
        except ConflictError:
            who.view = self.stored
            return
        if not isinstance(decision, Wait | Refresh):
            assert decide(self.observed(who), now) != decision, "done, and still to be done"

    def claim(self, who, seen, now):
        self.claims += 1
        claim = Claim(id=f"claim-{self.claims}", refresh_token_hash=seen.token.refresh_token, deadline=now + CLAIM)
        written = self.write(claimed(seen.token, claim))
        who.view, who.attempt = written, Attempt(written, claim, 3600)

    def sends(self, who, behind):
        """After the last look at the claim and its time, as ``Rotation._redeem`` does."""
        who.view = who.view if behind else self.stored
        gone = who.view.claim is None or who.view.claim.id != who.attempt.claim.id
        if gone or who.attempt.claim.deadline - MARGIN - (self.now + who.skew) < REQUEST / 2:
            who.released, who.attempt = who.attempt.claim.id, None
            return
        mine = who.attempt.token.refresh_token
        others = [token for name, (token, sent) in self.flying.items() if name != who.name and self.now < sent + REQUEST]
        assert mine not in others, "one refresh token is redeemed twice at a time"
        who.attempt.sent_at = self.now
        self.flying[who.name] = (mine, self.now)

    def the_provider_serves(self, who, heard):
        attempt = who.attempt
        mine, _ = self.flying.pop(who.name)
        rotated = self.provider.redeem(mine)
        if not heard or self.now > attempt.sent_at + REQUEST:
            self.excused.add(mine)  # served unheard: nobody can know
            who.attempt = None
        elif rotated in (None, DENIED):
            attempt.refused, attempt.denied = True, rotated is DENIED
        else:
            access = f"access-{self.provider.count}"
            attempt.answer = issued(access_token=access, refresh_token=rotated, issued_at=attempt.sent_at + who.skew)

    def writes_what_came(self, who):
        attempt, who.attempt = who.attempt, None
        if attempt.refused:
            if self.stored.refresh_token == attempt.token.refresh_token:
                by_policy = denied(self.stored, "AccessDenied", self.now + who.skew)
                who.view = self.write(by_policy if attempt.denied else ended(self.stored, "Revoked"))
            return
        wanted = merged(self.stored, attempt.token, attempt.answer, attempt.default_seconds)
        if wanted is None:
            spent = attempt.token.refresh_token
            assert self.stored.refresh_token != spent, "an answer was given up, and what is stored is the token that it cost"
            self.excused.add(spent)  # overtaken: the answer is given back
        else:
            who.view = self.write(wanted) if wanted is not self.stored else self.stored

    @precondition(lambda self: self.stored and not any(one.attempt for one in self.both))
    @rule(slow=controllers, steps=st.integers(0, 3))
    def one_sleeps_with_the_answer_in_its_hands_until_the_other_has_begun(self, slow, steps):
        [other] = [one for one in self.both if one is not slow]
        for who, pause, times in ((slow, 3000, 4), (other, 0, 1), (other, 31, steps)):
            self.later(pause)
            for _ in range(times):
                if who is other or who.attempt is None or not who.attempt.answer:
                    self.one_step(who, behind=False, heard=True)

    @precondition(lambda self: any(one.attempt for one in self.both))
    @rule(who=controllers)
    def dies(self, who):
        """And is started again, without a memory."""
        attempt = who.attempt
        if attempt and (attempt.answer or attempt.sent_at):
            self.excused.add(attempt.token.refresh_token)
            if who.name in self.flying:
                self.provider.redeem(self.flying.pop(who.name)[0])  # it is served all the same
        who.attempt, who.view, who.released = None, self.stored, None
        who.seen.clear()

    # ---- what must hold

    @invariant()
    def the_revision_only_grows(self):
        if self.stored:
            assert self.stored.record.revision >= self.highest
            self.highest = self.stored.record.revision

    @invariant()
    def no_expired_token_is_published(self):
        for now in (self.now - SKEW, self.now, self.now + SKEW):
            seen = observed(token=self.stored, app=self.app, credential=credential(suspend=self.suspended))
            state, _ = state_of(seen, now)
            if state is State.ACTIVE:
                assert self.stored.access_token
                assert self.stored.record.expires_at > now

    @invariant()
    def no_refresh_token_comes_twice_but_by_a_death_or_an_answer_that_nobody_heard(self):
        assert self.provider.reused <= self.excused

    @invariant()
    def a_lifetime_never_reaches_beyond_the_providers(self):
        if self.stored:
            assert self.stored.record.expires_at <= self.stored.record.issued_at + HOUR


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=100, stateful_step_count=40, deadline=None, phases=[Phase.explicit, Phase.generate])
