"""Every kind of mistake in a policy gets a message to act on, where it stands, and all of them at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.policy.load import PolicyError, load

GOOD = """\
attributes:
  profile: {plan: string, age: int, spent: double, since: timestamp, zone: string}
  context: {page: string}
  candidate: {value: {type: double, default: 1.0}}
zone_attribute: zone
consent: {purposes: {personalization: ok}, tracking: personalization}
channels: {web: {purposes: personalization}}
rankings: {value: {formula: candidate.value}}
placements:
  hero: {channels: web, ranking: value, fallback: {item: welcome}}
signals: {views: {count: {event: page, name: /x}, within: 7d}}
segments: {adults: {rule: profile.age >= 18}}
caps: {daily: {count: decision, per: item, limit: 1, window: {calendar: day}}}
items: {a: {kind: offer, eligibility: segment.adults, variants: {default: {}}}}
"""


def findings(tmp_path: Path, text: str) -> list[str]:
    (tmp_path / "policy.yaml").write_text(text, "utf-8")
    with pytest.raises(PolicyError) as caught:
        load(tmp_path)
    return [str(one).replace(str(tmp_path / "policy.yaml"), "") for one in caught.value.findings]


def test_the_good_one_is_good(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(GOOD, "utf-8")
    assert load(tmp_path).items.keys() == {"a"}


@pytest.mark.parametrize(("old", "new", "said"), [
    ("zone: string}", "zone: text}", ":2:76: attributes.profile.zone: 'text' is no type — one of bool, int"),
    ("age: int", "age: {type: int, default: x}", ":2:32: attributes.profile.age: the default 'x' is no int"),
    ("context: {page", "context: {channel: string, page", "context.channel is built in — choose another name"),
    ("zone_attribute: zone", "zone_attribute: zon", ":5:17: zone_attribute: there is no profile attribute 'zon' — did "
                                                   "you mean 'zone'?"),
    ("zone_attribute: zone", "zone_attribute: age", "profile.age must be a string as Europe/Berlin"),
    ("tracking: pers", "tracking: Pers", "there is no purpose 'Personalization' — did you mean 'personalization'?"),
    ("tracking: pers", "trackin: pers", ":6:53: 'trackin' is not known here — did you mean 'tracking'?"),
    ("personalization: ok", "personalization: {bases: [legitimate interests]}", ":6:47: consent.purposes.personaliz"
     "ation.bases: 'legitimate interests' is no legal basis of GDPR article 6: one of consent, contract, legal_oblig"),
    ("personalization: ok", "personalization: {bases: []}", "name at least one legal basis (GDPR article 6): consent,"),
    ("personalization: ok", "personalization: {double_opt_in: emial}", ":6:55: consent.purposes.personalization.double_"
     "opt_in: there is no channel 'emial' — declared: web"),
    ("personalization: ok", "personalization: {bases: contract, double_opt_in: web}", "a double opt-in confirms a "
     "consent, which this purpose does not permit as a basis — add consent to its bases, or leave double_opt_in out"),
    ("personalization: ok", "personalization: {confirm_within: 7d}", "nothing has to be confirmed — name the channels"),
    ("personalization: ok", "personalization: {lasts: a year}", "'a year' is not a length of time: write it as 30s"),
    ("personalization: ok", "personalization: {base: consent}", "'base' is not known here — did you mean 'bases'?"),
    ("tracking: pers", "categories: {Ads: marketing}, tracking: pers", "consent.categories.Ads: there is no purpose "
     "'marketing' — declared: personalization"),
    ("tracking: pers", "categories: {Ads: personalization/mail}, tracking: pers", "there is no channel 'mail'"),
    ("tracking: pers", "tcf: {vendor: 7, purposes: {ads: [1]}}, tracking: pers", "there is no purpose 'ads'"),
    ("tracking: pers", "tcf: {vendor: 7, purposes: {personalization: [12]}}, tracking: pers", "or equal to 11"),
    ("tracking: pers", "tcf: {purposes: {personalization: [1]}}, tracking: pers", "consent.tcf.vendor is missing"),
    ("{purposes: {personalization: ok}", "{tcf: {vendor: 7, purposes: {personalization: [1]}}, purposes: "
     "{personalization: {bases: contract}}", "a TC string speaks of consent and legitimate_interest; it permits neit"),
    ("{purposes: personalization}}", "{purposes: marketing}}", "there is no purpose 'marketing' — declared: pers"),
    ("channels: web,", "channels: wep,", ":10:20: placements.hero.channels: there is no channel 'wep' — did you mean "
                                         "'web'?"),
    ("ranking: value", "ranking: valeu", "there is no ranking 'valeu' — did you mean 'value'?"),
    (", fallback: {item: welcome}}", "}", "placements.hero.fallback is missing"),
    ("zone_attribute: zone", "identity: {phone_region: Germany}\nzone_attribute: zone",
     "identity.phone_region: there is no region 'Germany' — two letters, as DE or US"),
    ("zone_attribute: zone", "identity: {types: {emial: {limit: 1}}}\nzone_attribute: zone",
     "there is no type of identifier 'emial' — did you mean 'email'?"),
    ("zone_attribute: zone", "identity: {priority: [email, phone, email]}\nzone_attribute: zone",
     "'email' is named twice"),
    ("zone_attribute: zone", "identity: {types: {email: {blocked_patterns: ['(']}}}\nzone_attribute: zone",
     "is not a regular expression RE2 knows: missing )"),
    ("zone_attribute: zone", "identity: {types: {email: {blocked_patterns: ['.*']}}}\nzone_attribute: zone",
     "this pattern blocks every identifier"),
    ("zone_attribute: zone", "identity: {types: {email: {limit: none, window: 7d}}}\nzone_attribute: zone",
     "a window without a limit counts nothing — give a limit"),
    ("zone_attribute: zone", "identity: {max_links: 0}\nzone_attribute: zone", "identity.max_links: "),
    ("within: 7d", "within: 999999d", "'999999d' is longer than ten years (3652d): leave it out where it has no end"),
    ("within: 7d", "within: seven days", "'seven days' is not a length of time: write it as 30s, 5m, 36h, 7d or 2w"),
    ("event: page", "event: pages", "'pages' is no kind of event: one of view, click"),
    ("{count: {event: page, name: /x}, within: 7d}", "{within: 7d}", "a signal is exactly one of count, last and"),
    ("profile.age >= 18", "profile.agee >= 18", ":12:27: segments.adults.rule: 'profile.agee' is not declared — did "
                                                "you mean 'profile.age'?"),
    ("profile.age >= 18", "profile.age >= 18.5", ":12:39: segments.adults.rule: >= cannot take int and double — write "
                                                 "whole numbers with a point beside decimals"),
    ("profile.age >= 18", "profile.age = 18", ":12:39: segments.adults.rule: '=' is not understood here — write == to"),
    ("profile.age >= 18", "profile.age >= 18 and true", "unexpected 'and' — write &&"),
    ("profile.age >= 18", "profile.age", "a rule is a condition, this is a int — compare it"),
    ("profile.age >= 18", "profile.plan.startswith('a')", "there is no function 'startswith' — did you mean "
                                                         "'startsWith'?"),
    ("profile.age >= 18", "profile.age == null", "== cannot take int and null — use has(…)"),
    ("profile.age >= 18", "profile.age in 18", "in looks into a list, this is a int — write ['a', 'b']"),
    ("profile.age >= 18", "profile.since > 5", "> cannot take timestamp and int — beside a timestamp write now or"),
    ("profile.age >= 18", "(profile.age >= 18", "expected ')' but found the end of the rule"),
    ("profile.age >= 18", "profile.plan == 'pro", "is not understood here — this quote is never closed"),
    ("profile.age >= 18", "context.page == 'x'", "'context.page' may not be read here — only what is kept about the"),
    ("profile.age >= 18", "segment.adults", "segments read each other in a circle: adults → adults"),
    ("profile.age >= 18", "profile.age >= ", "the rule ends here: a value is missing"),
    ("count: decision", "count: decisions", "'decisions' cannot be counted: one of decision, impression"),
    ("per: item", "per: items", "'items' is not one of item, tag, campaign, placement, channel, session, all — did you "
                                "mean 'item'?"),
    ("limit: 1", "limit: -1", "caps.daily.limit: should be greater than or equal to 0"),
    ("limit: 1", "limit: 5000", "a cap within a window counts to 1000 at most"),
    ("{calendar: day}", "weekly", "'weekly' is not a length of time"),
    ("{calendar: day}", "{calendar: dai}", "'dai' is not one of minute, hour, day, week, month — did you mean 'day'?"),
    ("{calendar: day}", "3", "write a window as 7d, session, lifetime, or {calendar: day}"),
    ("kind: offer", "kind: ofer", "items.a.kind: 'ofer' is not one of action, offer, content — did you mean 'offer'?"),
    ("segment.adults", "segment.adult", "'segment.adult' is not declared — did you mean 'segment.adults'?"),
    ("variants: {default: {}}", "variants: {}", "should have at least 1 item"),
    ("variants: {default: {}}", "variants: {default: {content: {t: 'Hi {{ profile.nam }}'}}}",
     "items.a.variants.default.content.t: 'profile.nam' is not declared"),
    ("variants: {default: {}}", "variants: {default: {content: {t: 'Hi {{ profile.since }}'}}}",
     "a timestamp cannot be shown — show a string"),
    ("variants: {default: {}}", "variants: {default: {content: {t: 'Hi {{ profile.age'}}}", "{{ is never closed"),
    ("variants: {default: {}}", "valid_from: 20260131T080000Z, variants: {default: {}}", ":14:67: items.a.valid_from: "
     "'20260131T080000Z' is no moment: write it as 2026-01-31T08:00:00Z"),
    ("variants: {default: {}}", "valid_from: '9999-12-31T23:59:59-14:00', variants: {default: {}}",
     ":14:67: items.a.valid_from: '9999-12-31T23:59:59-14:00' is no moment that there is: write it as"),
    ("within: 7d", "within: ３d", "'３d' is not a length of time: write it as 30s, 5m, 36h, 7d or 2w"),
    ("{calendar: day}", "３d", "'３d' is not a length of time: write it as 30s, 5m, 36h, 7d or 2w"),
    ("within: 7d", "within: " + "9" * 5_000 + "d", "is not a length of time"),
    ("{purposes: personalization}}", "{purposes: personalization, quiet_hours: {from: \"２1:00\", to: \"8:00\"}}}",
     "channels.web.quiet_hours.from: '２1:00' is no time of day"),
    ("variants: {default: {}}", "bypass: dayly, variants: {default: {}}", "there is no cap 'dayly' — did you mean 'd"),
    ("variants: {default: {}}", "attributes: {valu: 1.0}, variants: {default: {}}",
     "there is no candidate attribute 'valu' — did you mean 'value'?"),
    ("variants: {default: {}}", "attributes: {value: high}, variants: {default: {}}", "'high' is no double"),
    ("tracking: pers", "tracking: ~, gpc: pers", "consent.tracking is empty — write a value, or leave it out"),
    ("ranking: value", "ranking:", "placements.hero.ranking is empty"),
    ("eligibility: segment.adults", "eligibility: null", "items.a.eligibility is empty"),
    ("plan: string", "x" * 5_000 + ": string", "a name of 5,000 characters, at most 1,024 can stand before a colon"),
    ("count: decision", "count: 'event: x'", "caps.daily.count: ' x' has white space around it, which no name has"),
    ("count: decision", "count: 'event:x '", "'x ' has white space around it"),
    ("name: /x", "name: '/x '", "signals.views.count.name.0: '/x ' has white space around it"),
    ("name: /x", "name: []", "signals.views.count.name: an empty list limits nothing"),
    ("limit: 1,", "limit: 1, for: {placement: []},", "caps.daily.for.placement: an empty list limits nothing: name"),
    ("limit: 1,", "limit: 1, for: {tag: ''},", "caps.daily.for.tag.0: '' is no name"),
    ("variants: {default: {}}", "tags: [''], variants: {default: {}}", "items.a.tags.0: '' is no name"),
    ("variants: {default: {}}", "campaign: '', variants: {default: {}}", "items.a.campaign: '' is no name"),
    ("variants: {default: {}}", "instead: ' ', variants: {default: {}}", "items.a.instead: ' ' is no name"),
    ("variants: {default: {}}", "variants: {default: {channels: []}}", "channels: an empty list limits nothing"),
    ("item: welcome", "item: ''", "placements.hero.fallback.item: '' is no name"),
    ("channels: web,", "channels: [],", "placements.hero.channels: an empty list limits nothing"),
    ("tracking: pers", "categories: {personalization: [personalization, marketing]}, tracking: pers",
     "personalization is a purpose too: a yes to it would permit personalization, marketing"),
    ("tracking: pers", "categories: {'': personalization}, tracking: pers", "'' is no name"),
    ("profile.age >= 18", "local.hour == 24", "this is never so: local.hour goes from 0 to 23 — compare"),
    ("profile.age >= 18", "local.weekday == 8", "this is never so: local.weekday goes from 1, Monday, to 7, Sunday"),
    ("profile.age >= 18", "local.weekday == 0", "this is never so: local.weekday"),
    ("profile.age >= 18", "'local.weekday in [0, 6]'", "local.weekday is never 0: it goes from 1, Monday,"),
    ("profile.age >= 18", "local.minute >= 60", "this is never so: local.minute goes from 0 to 59"),
    ("profile.age >= 18", "profile.spent < 1e400", "this number is larger than any there is — the largest is"),
    ("profile.age >= 18", "1e400 > 1.0", "this number is larger than any there is"),
    ("items:", "caps: {}\nitems:", ":14:1: caps is given twice — the first one"),
    ("items: {a:", "items: {a: {kind: offer, variants: {default: {}}}, a:", "items.a is given twice — the first one"),
    ("consent: {", "consent: [", ":6:"),
])
def test_a_mistake_is_said_where_it_stands(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in GOOD
    found = findings(tmp_path, GOOD.replace(old, new, 1))
    assert any(said in one for one in found), found
    assert len(found) <= 2, found


@pytest.mark.parametrize(("more", "said"), [
    ("experiments: {e: {variations: {a: {weight: 0}}}}", "no variation has a weight above zero"),
    ("experiments: {e: {slice: {from: 50, to: 10}, variations: {a: {}}}}", "50.0 to 10.0 is no part of 0 to 100"),
    ("experiments: {e: {layer: l, variations: {a: {}}}, f: {layer: l, variations: {a: {}}}}",
     "shares buckets of the layer 'l' with 'e' — give each its own part"),
    ("experiments: {e: {variations: {a: {ranking: x}}}}", "there is no ranking 'x'"),
    ("experiments: {e: {target: candidate.value > 1.0, variations: {a: {}}}}", "may not be read here — no item is"),
    ("suppressions: {daily: {when: dismissal, per: tag, within: 7d, lasts: 1d}}", "there is a cap 'daily' too"),
    ("suppressions: {r: {when: decision, per: tag, within: 7d, lasts: 1d}}", "a decision is no outcome"),
    ("holdouts: {h: {share: 0}}", "should be greater than 0"),
    ("lifecycle: {stages: [{name: a, rule: 'true'}, {name: a, rule: 'true'}]}", "there are two stages 'a'"),
    ("lifecycle: {stages: [{name: a, rule: lifecycle == 'a'}]}", "may not read the lifecycle itself"),
    ("golden: {g: {at: 2026-01-01T00:00:00Z, channel: web, placement: hero, expect: a}}",
     "golden.g.expect: expected a but decided welcome"),
    ("golden: {g: {at: 2026-01-01T00:00:00Z, channel: fax, placement: hero, expect: a}}",
     "golden.g.channel: there is no channel 'fax' — declared: web"),
    ("segmets: {}", "'segmets' is not known here — did you mean 'segments'?"),
])
def test_a_mistake_in_what_is_added(tmp_path: Path, more: str, said: str) -> None:
    found = findings(tmp_path, GOOD + more + "\n")
    assert len(found) == 1 and said in found[0], found


@pytest.mark.parametrize("rule", [
    "local.weekday == 7", "local.hour == 23 && local.minute == 59", "'local.hour in [0, 23]'",
    "profile.spent < 1.7e308"])
def test_what_the_clock_can_say_is_fine(tmp_path: Path, rule: str) -> None:
    (tmp_path / "policy.yaml").write_text(GOOD.replace("profile.age >= 18", rule), "utf-8")
    assert load(tmp_path).items


def test_a_category_may_be_named_as_the_purpose_that_it_stands_for(tmp_path: Path) -> None:
    text = GOOD.replace("tracking: pers", "categories: {personalization: personalization}, tracking: pers")
    (tmp_path / "policy.yaml").write_text(text, "utf-8")
    assert load(tmp_path).items


@pytest.mark.parametrize(("old", "new", "said"), [
    ("limit: 1", "limit: 1_000", "'1_000' is no whole number"),
    ("limit: 1", "limit: 0x10", "0x10 is read as one number here and as another elsewhere"),
    ("limit: 1", "limit: !!int x", "'x' is no int"),
    ("within: 7d", "within: 010", "010 is read as one number here"),
    ("{event: page, name: /x}", ".inf", ".inf is no number"),
    ("tracking: pers", "tcf: {vendor: 7, purposes: {personalization: [12]}}, tracking: pers", "equal to 11"),
    ("tracking: pers", "tcf: {vendor: 7, purpose: {personalization: [1]}}, tracking: pers", "did you mean 'purposes'"),
    ("tracking: pers", "tcf: {vendor: 0x7, purposes: {personalization: [1]}}, tracking: pers", "0x7 is read as one"),
    ("limit: 1", "limits: 1", "'limits' is not known here — did you mean 'limit'?"),
])
def test_one_cause_is_one_finding(tmp_path: Path, old: str, new: str, said: str) -> None:
    found = findings(tmp_path, GOOD.replace(old, new, 1))
    assert len(found) == 1 and said in found[0], found


RULE = "profile.age >= 18"


@pytest.mark.parametrize(("rule", "said"), [
    ("plan == 'pro'", ":12:27: segments.adults.rule: 'plan' is not declared — did you mean 'profile.plan'?"),
    ("profile.plan == pro", ":12:43: segments.adults.rule: 'pro' is not declared — text stands in quotes: 'pro'"),
    ("account.tier == 'gold'", "'account.tier' is not declared — declare it: attributes: {account: {tier: string}}"),
    ("journey.step == 'x'", "'journey.step' is not declared — declare it: attributes: {journey: {step: string}}"),
    ("features.score > 0.5", "'features.score' is not declared — declare it: attributes: {features: {score: string}}"),
    ("AND(true)", "there is no function 'AND' — write a && b"),
    ("if(true)", "there is no function 'if' — write condition ? this : that"),
    ("profile.plan.lower() == 'x'", "there is no function 'lower' — did you mean 'lowerAscii'"),
    ("profile.plan.matches('(')", "'(' is not a regular expression RE2 knows"),
    ("now > timestamp('2026-01-31')", "'2026-01-31' is not a moment as 2026-01-31T00:00:00Z"),
    ("now - profile.since < duration('14d')", "'14d' is not a duration as 36h, 90m or 30s; write 24h for a day"),
    ("daysSince(profile.age) > 3", "daysSince() cannot take int — it takes timestamp"),
    ("-profile.plan == 'x'", "- cannot take string"),
    ("profile.age > 3u", ":12:41: segments.adults.rule: rules have no unsigned numbers — write 3"),
    ("b'x' == b'x'", "rules have no bytes — write 'text'"),
])
def test_a_mistake_in_a_rule(tmp_path: Path, rule: str, said: str) -> None:
    found = findings(tmp_path, GOOD.replace(RULE, rule, 1))
    assert len(found) == 1 and said in found[0], found


@pytest.mark.parametrize(("rule", "said"), [
    ("inNetwork(profile.plan, '10.0.0.0/33')", ":12:52: segments.adults.rule: '10.0.0.0/33' is no"),
    ("inNetwork(profile.plan, '10.0.0/8')", "'10.0.0/8' is no network as 10.0.0.0/8"),
    ("inNetwork('localhost', profile.plan)", "'localhost' is no address as 10.0.0.1"),
    ("versionAtLeast(profile.plan, 'abc')", "'abc' is not a version as 2.10.1"),
    ("versionAtLeast(profile.plan, 'a' + 'bc')", "'abc' is not a version as 2.10.1"),
    ("1/0 > profile.age", ":12:30: segments.adults.rule: nothing can be divided by nought"),
    ("profile.age % 0 == 1", ":12:42: segments.adults.rule: nothing can be divided by nought"),
    ("profile.age / (3 - 3) == 1", "nothing can be divided by nought"),
    ("profile.age > 1 || 9223372036854775807 + 1 > 3", "this can never be computed: integer overflow"),
    ("profile.age == -(-9223372036854775808)", "this can never be computed: integer overflow"),
    ("profile.plan.split(',').exists(p, p == 'abc'.substring(4))", "this can never be computed: index out of bounds"),
    ("profile.plan.substring(-1) == 'a'", "there is no place before the first, which is 0"),
    ("profile.plan.substring(3, 2) == 'a'", "this ends before it begins"),
    ("profile.plan.split(',')[-1] == 'a'", "there is no place before the first, which is 0"),
    ("profile.age == ['1'].map(x, 1)[0] + int('1' + '2' + 'x')", "cannot convert string to int"),
    ("timestamp('2026-01-31T00:00:00Z') + duration('9999999h') > now && now > timestamp('9999-12-31T23:59:59Z') + "
     "duration('24h')", "this can never be computed: date value out of range"),
])
def test_what_can_never_be_computed_is_a_finding(tmp_path: Path, rule: str, said: str) -> None:
    found = findings(tmp_path, GOOD.replace(RULE, f'"{rule}"', 1))
    assert len(found) == 1 and said in found[0], found


@pytest.mark.parametrize(("formula", "said"), [
    ("candidate.priority / 0", ":8:51: rankings.value.formula: nothing can be divided by nought"),
    ("0.0 / 0.0", "this is never a finite number"), ("1.0 / 0.0", "this is never a finite number"),
    ("2.0 * (candidate.value / 0.0)", "this is never a finite number"),
    ("candidate.value > 1.0 ? 1.0 / 0.0 : -1.0 / 0.0", "this is never a finite number"),
    ("9223372036854775807 + 1 + candidate.priority", "this can never be computed: integer overflow"),
])
def test_a_formula_that_is_no_number_ever_is_a_finding(tmp_path: Path, formula: str, said: str) -> None:
    found = findings(tmp_path, GOOD.replace("formula: candidate.value", f"formula: '{formula}'", 1))
    assert len(found) == 1 and said in found[0], found
    gap = "variants: {default: {content: {t: '{{ profile.age % 0 | 1 }}'}}}"
    text = GOOD.replace("variants: {default: {}}", gap, 1)
    assert "nothing can be divided by nought" in findings(tmp_path, text)[0]


@pytest.mark.parametrize("formula", [
    "min(1.0 / 0.0, candidate.value)", "candidate.value / (1.0 / 0.0)", "candidate.value > 1.0 ? 1.0 / 0.0 : 1.0",
    "9223372036854775807 + candidate.priority + 1"])
def test_a_formula_that_may_be_a_number_is_none(tmp_path: Path, formula: str) -> None:
    (tmp_path / "policy.yaml").write_text(GOOD.replace("formula: candidate.value", f"formula: '{formula}'", 1), "utf-8")
    load(tmp_path)


def test_rules_have_no_maps_and_say_so(tmp_path: Path) -> None:
    found = findings(tmp_path, GOOD.replace(RULE, '"{1: 2}[1] == 2"', 1))
    assert found == [":12:28: segments.adults.rule: '{' is not understood here — rules have no maps: declare an "
                     "attribute for each value"]


@pytest.mark.parametrize(("old", "new", "said"), [
    ("rule: profile.age >= 18", "rule: true", 'segments.adults.rule: true is no text — write it in quotes: "true"'),
    ("rule: profile.age >= 18", "rule:", "segments.adults.rule is empty"),
    ("limit: 1", "limit: many", "caps.daily.limit: 'many' is no whole number"),
    ("count: decision", "count: decisons", "or event:<name> — did you mean 'decision'?"),
    ("event: page", "event: pagge", "signals.views.count.event.0: 'pagge' is no kind of event"),
    ("limit: 1,", "limit: 1, for: {kind: ofer},", ":13:66: caps.daily.for.kind: there is no kind of item 'ofer' — did"),
    ("limit: 1,", "limit: 1, for: {placement: her},", "caps.daily.for.placement: there is no placement 'her'"),
    ("limit: 1,", "limit: 1, for: {item: b},", "caps.daily.for.item: there is no item 'b' — declared: a"),
    ("limit: 1,", "limit: 1, weights: {web: 2},", "one decision on web weighs 2, more than the limit 1: nothing could"),
    ("item: welcome}}", "item: welcome, ttl: 10ms}}", "placements.hero.fallback.ttl: '10ms' is too short: at least"),
    ("item: welcome}}", "item: welcome, chain: b}}", "placements.hero.fallback.chain: there is no item 'b'"),
    ("{purposes: personalization}}", "{purposes: personalization, quiet_hours: {from: \"8:00\", to: \"8:00\"}}}",
     "channels.web.quiet_hours: from and to are the same time"),
    ("{purposes: personalization}}", "{purposes: personalization, quiet_hours: {from: \"25:00\", to: \"8:00\"}}}",
     "channels.web.quiet_hours.from: '25:00' is no time of day: write it as \"21:30\""),
    ("kind: offer,", "kind: offer, tags: 'x, y',", "'x, y' is one tag with a comma in it: write [x, y] for several"),
    ("kind: offer,", "kind: offer, instead: b,", "items.a.instead: there is no item 'b' — declared: a"),
    ("variants: {default: {}}", "variants: {default: {content: {t: {u: v}}}}", "a value is text, a number, true or"),
    ("variants: {default: {}}", "variants: {default: {content: {t: '{{ }}'}}}", "nothing stands here — write an attr"),
    ("variants: {default: {}}", "variants: {default: {content: {t: \"{{ profile.plan || 'x' }}\"}}}",
     "|| joins conditions — write a single | before what stands there by default"),
])
def test_a_mistake_in_words_of_the_author(tmp_path: Path, old: str, new: str, said: str) -> None:
    found = findings(tmp_path, GOOD.replace(old, new, 1))
    assert len(found) == 1 and said in found[0], found


@pytest.mark.parametrize(("more", "said"), [
    ("traits: {agee: 3}", "golden.g.traits.agee: there is no attribute 'agee' — did you mean 'age'?"),
    ("context: {pag: x}", "golden.g.context.pag: there is no context attribute 'pag' — did you mean 'page'?"),
    ("consent: all", "golden.g.consent: there is no purpose 'all' — declared: personalization"),
    ("segments: adult", "golden.g.segments: there is no segment 'adult' — did you mean 'adults'?"),
    ("traits: {age: 20}, consent: personalization, reason: capped", "golden.g.reason: expected capped but it is"),
])
def test_a_mistake_in_a_golden_decision(tmp_path: Path, more: str, said: str) -> None:
    golden = f"golden: {{g: {{at: 2026-01-01T00:00:00Z, channel: web, placement: hero, expect: a, {more}}}}}\n"
    found = findings(tmp_path, GOOD + golden)
    assert len(found) == 1 and said in found[0], found


@pytest.mark.parametrize(("arm", "said"), [
    ("only: b", "experiments.e.variations.x.only: there is no item 'b'"),
    ("without: [a, b]", "experiments.e.variations.x.without.1: there is no item 'b'"),
    ("variants: {a: big}", "experiments.e.variations.x.variants.a: there is no variant of a 'big' — declared: default"),
    ("variants: {b: big}", "experiments.e.variations.x.variants.b: there is no item 'b'"),
])
def test_a_mistake_in_an_arm(tmp_path: Path, arm: str, said: str) -> None:
    found = findings(tmp_path, GOOD + f"experiments: {{e: {{variations: {{x: {{{arm}}}}}}}}}\n")
    assert len(found) == 1 and said in found[0], found


def test_a_tag_that_no_item_has_is_doubted_and_published(tmp_path: Path) -> None:
    text = GOOD.replace("kind: offer,", "kind: offer, tags: sale, campaign: spring,")
    more = "holdouts: {h: {share: 5, for: {campaign: sprnig, tag: sael}}}\n"
    (tmp_path / "policy.yaml").write_text(text + more, "utf-8")
    found = [str(one).replace(str(tmp_path / "policy.yaml"), "") for one in load(tmp_path).doubts]
    assert found == [
        ":15:55: holdouts.h.for.tag: there is no item with the tag 'sael' — did you mean 'sale'?",
        ":15:42: holdouts.h.for.campaign: there is no item of the campaign 'sprnig' — did you mean 'spring'?",
    ]


def test_what_a_file_that_cannot_be_read_may_declare_is_not_missed(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text("segments:\n  adults: {rule: profile.age >= 18}\n bad: x\n", "utf-8")
    found = findings(tmp_path, GOOD.replace("segments: {adults: {rule: profile.age >= 18}}\n", ""))
    assert len(found) == 1 and "not YAML" in found[0] and "look at the indentation" in found[0], found


def test_all_mistakes_are_said_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("age: int", "age: number").replace("limit: 1", "limit: x").replace("kind: offer", "kind: x")
    found = findings(tmp_path, text + "suppressions: {r: {when: click, per: tag, within: 7, lasts: 1d}}\n"
                     "holdouts: {h: {share: 5, for: {placement: her}}}\n")
    assert len(found) == 5, found


def test_a_rule_over_several_lines_is_placed_on_its_own_line(tmp_path: Path) -> None:
    text = GOOD.replace("segments: {adults: {rule: profile.age >= 18}}",
                        "segments:\n  adults:\n    rule: |\n      profile.age >= 18\n      && profile.plann == 'x'")
    assert findings(tmp_path, text)[0].startswith(":16:10: segments.adults.rule: 'profile.plann'")


def test_a_folder_without_files_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="give the folder that holds them"):
        load(tmp_path)


def test_sections_may_be_spread_over_files(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD, "utf-8")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "b.yml").write_text(
        "items: {b: {kind: content, variants: {default: {}}}}\nattributes: {profile: {city: string}}\n", "utf-8")
    assert load(tmp_path).items.keys() == {"a", "b"}


def test_a_release_is_named_by_what_it_decides_and_not_by_its_words(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD, "utf-8")
    first = load(tmp_path).release
    (tmp_path / "a.yaml").write_text("# a comment\n" + GOOD.replace("limit: 1", "limit: 1, doc: words"), "utf-8")
    assert load(tmp_path).release == first
    (tmp_path / "a.yaml").write_text(GOOD.replace("limit: 1", "limit: 2"), "utf-8")
    assert load(tmp_path).release != first


def test_the_example_policy_is_fine_and_its_golden_decisions_hold() -> None:
    checked = load(Path(__file__).resolve().parents[2] / "policy")
    assert checked.golden >= 5


def test_the_consent_page_shows_a_policy_that_is_right(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "consent.md").read_text("utf-8")
    shown = page.partition("<!-- test:policy -->\n```yaml\n")[2].partition("```")[0]
    declared = GOOD.replace("consent: {purposes: {personalization: ok}, tracking: personalization}\n", shown)
    declared = declared.replace("channels: {web: {purposes: personalization}}", "channels: {web: {}, email: {}}")
    (tmp_path / "policy.yaml").write_text(declared, "utf-8")
    policy = load(tmp_path).policy
    assert policy.tcf is not None and policy.tcf.vendor == 755
    assert policy.purposes["marketing"].double_opt_in == {"email"}


def test_what_asks_for_nobodys_consent_and_what_names_itself_is_doubted(tmp_path: Path) -> None:
    text = GOOD.replace("kind: offer,", "kind: offer, instead: a,")
    text = text.replace("{web: {purposes: personalization}}", "{web: {}}")
    (tmp_path / "policy.yaml").write_text(text, "utf-8")
    found = [str(one) for one in load(tmp_path).doubts]
    assert any("without anybody's consent" in one for one in found), found
    assert any("it names itself" in one for one in found), found


@pytest.mark.parametrize(("old", "new"), [
    ("rule: profile.age >= 18", 'rule: "\'\\uD800\' == profile.plan"'),
    ("x.value}}", 'x.value}, "\\uDFFF": {formula: "1"}}'),
])
def test_half_a_surrogate_pair_is_a_finding(tmp_path: Path, old: str, new: str) -> None:
    text = GOOD.replace("candidate.value}}", "x.value}}").replace(old, new).replace("x.value", "candidate.value")
    assert any("half a surrogate pair" in one for one in findings(tmp_path, text))
