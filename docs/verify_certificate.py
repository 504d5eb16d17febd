"""Check a certificate of forgetting without Olvido: Python and the package `cryptography` alone.

    python verify_certificate.py CERTIFICATE.json ISSUER.pub [sha256:WEIGHTS [sha256:FUNCTION]]

Arguments go by place, the key second. The digests are of the model that comes with it: of its
weights, and of the files that decide its function. Standard output says whether it is to be
believed, or why not; exit status 0: it is, 1: it is not, 2: no file. Get the key from its issuer.
"""

import base64
import hashlib
import json
import math
import re
import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

# fmt: off
COPIES = "anything about copies of data or earlier models elsewhere, or in forms that are not read"
EQUAL = "that the weights equal those of a model that never learned the records"
FIXED = "that what was fixed beforehand was chosen without them: tokenizer, classes, recipe"
EXACT = ("drop", "module", "shard", "replay", "retrain")
DESCENT = ("lr epochs batch_size retain_batch retain_weight project target dtype lora_rank "
           "checkpointing micro_batch regulariser ")
REPAIR = DESCENT.replace("epochs ", "steps ").replace("project ", "")
CURVED = "strength target sample batch_size "
METHODS = {  # the option names of each method; OPTIONS has their kinds
    **dict.fromkeys(EXACT, "definition workers"), "destroy": "", "private": "",
    **dict.fromkeys("ascent idknll random_label scrub bad_teacher distillation".split(), DESCENT),
    **dict.fromkeys(("npo", "altpo", "idkdpo"), DESCENT + "beta"), "undial": DESCENT + "strength",
    "graddiff": DESCENT + "saturation importance", "simnpo": DESCENT + "beta gamma",
    "samnpo": DESCENT + "beta radius", "repselect": DESCENT + "beta components",
    "pdu": DESCENT + "budget dual_rate", "ssd": CURVED + "alpha dampening", "rewind": REPAIR + "mu",
    "rmu": DESCENT + "layer steer", "redistil": REPAIR + "keep", "fisher": CURVED + "noise aimed",
    "arithmetic": REPAIR + "scale passes beside", "influence": CURVED + "steps damping inverse",
    "task_vector": "scale lr epochs batch_size target dtype lora_rank micro_batch",
    "auto": "methods most within regulariser batch_size retain_batch dtype lora_rank",
}
OPTIONS = {
    int: {"epochs", "batch_size", "micro_batch", "retain_batch", "lora_rank", "components", "layer",
          "sample", "steps", "most", "workers", "passes", "beside"},
    bool: {"project", "checkpointing", "aimed"},
    str: {"regulariser", "dtype", "inverse", "methods", "definition"},  # anything else is a number
}
WORDS = {*METHODS, *"nll kl hidden ewc ekfac gauss-newton tombstone float32 bfloat16".split()}
WORDS -= {"destroy", "private", "auto"}
CLAIMS = {  # for each guarantee: the methods that give it, its meaning, what it leaves unproven
    "exact": (EXACT, "equal to a training in which the records never took part",
              ["that this machine did what the log says: check it with 'olvido verify-exact'",
               "that the weights the training began with never knew the records", FIXED, COPIES]),
    "certified": (("private",),
                  "within epsilon and delta of such a training, under stated assumptions",
                  ["that anything was taken out of the weights: they are as they were trained",
                   "that the training ran as written: each unit clipped once, its noise secret",
                   "anything about other models, what the training began with, and records that do "
                   "not name the person", EQUAL, COPIES]),
    "empirical": (sorted(METHODS.keys() - {*EXACT, "destroy", "private"}),
                  "passed the audits named, and promises nothing beyond them",
                  ["that no other question could bring the records back: only these audits were "
                   "made", EQUAL, COPIES]),
    "suppressed": ((), "hidden at the output; the weights still hold it",
                   ["that anything was forgotten: the weights still hold it, and only answers are "
                    "held back", COPIES]),
    "destroyed": (("destroy",), "the model itself is gone",
                  ["that no other model learned the same records", COPIES]),
}
ALWAYS = ["that the issuer measured what it says: invented numbers, records or references that "
          "were left out, and who is meant by a reason cannot be seen from a certificate alone"]
DECLARED = "that the model learned what was declared, and no more: nobody witnessed its training"
KIND = ("https://in-toto.io/Statement/v1", "urn:olvido:forgetting-certificate:v6")
KINDS = ("erasure", "opt-out", "poison", "outdated", "destroy", "rectification", "retention")
EXITS, REST = ("erased", "awaiting-expiry", "cannot", "unrelated", "open"), "everything else"
ARTEFACTS = (  # every kind that an item of a closure may be of
    "rows|near|model|checkpoints|activations|export|log|backups|recipients|names|arrays|unfinished|run|"
    "scores|training|curvature|comparison|orphan|checkpoint|cache|trial|weights|report|result|"
    f"access|page|demo|tombstones|certificate|file|mention|foreign|hardlink|link|unread|{REST}"
)
UNSEEN = ("unread", "link", "hardlink", "names", "arrays", REST)  # kinds with unknown content
OUTSIDE = {"backups", "recipients"}  # items of every request
YEARS = timedelta(days=366 * 10)  # from a request to its answer, and to what expires, at the most
NOTHING = f"sha256:{hashlib.sha256().hexdigest()}"  # the root of a tree without leaves
LEVELS = {"quick": 1, "standard": 2, "thorough": 3}
FIVE, TEN, QUARTER, FREE = [None, 0.05], [None, 0.1], [None, 0.25], [None, None]
LOST, MORE = [-0.03, None], [0.0, None]
SAID = {"exact match": FIVE, "probability": FIVE, "ROUGE-L": TEN}
STAYED = dict.fromkeys(SAID, LOST)
LATER = {"probability after * steps": TEN}
AUDITS = {  # for each audit: its level, its needs, and the tolerance of each metric
    "change": (1, {"original"}, {
        "weights changed": MORE, "made like the original model": MORE, "of the same base": MORE,
        "share of the change in the last layer": [None, 0.5]}),
    "filter": (1, set(), {"things around the weights": [0.0, 0.0]}),
    "adapter": (1, set(), {"probability with the adapter off": FIVE}),
    "recall": (1, set(), SAID),
    "paraphrase": (1, {"language", "paraphrases"}, SAID),
    "probes": (2, {"language"}, {"*: right answer chosen": QUARTER, "*: probability": FIVE}),
    "formats": (3, {"language"}, {"*: right answer affirmed": QUARTER, "*: probability": FIVE}),
    "clues": (3, {"language"}, {"*: probability": FIVE}),
    "extraction": (2, {"language"}, {"extraction strength": TEN, "exact memorisation": TEN}),
    "truth": (2, {"language", "perturbed answers"},
              {"share of the truth": TEN, "forget quality": FREE}),
    "exposure": (3, {"language", "retain"}, {"exposure in bits": [None, 1.0]}),
    "sampling": (3, {"language"}, {"leak@*": TEN, "best overlap of *": TEN}),
    "likelihood": (1, set(), {"loss": [-0.25, 0.25]}),  # a share of what is expected
    "membership": (1, {"holdout"}, {"AUC of the * attack": [-0.15, 0.15]}),
    "lira": (3, {"shadows", "holdout"}, {"true positives at *": FIVE}),
    "difference": (2, {"original", "retain"}, {"AUC of the loss gained": FREE}),
    "quantization": (2, set(), {"exact match in int*": FIVE, "probability in int*": FIVE}),
    "relearning": (2, set(), LATER),
    "same-form": (3, {"language", "retain"}, LATER),
    **dict.fromkeys(("unrelated", "retained"), (3, {"retain"}, LATER)),
    "lens": (2, {"language"}, {"probability at the best layer": FIVE}),
    "patching": (3, {"language", "original"}, {"knowledge kept inside": [None, 0.15]}),
    "retention": (1, {"retain"}, STAYED),
    "classes": (1, {"classes", "retain"}, {"exact match of the class that lost most": LOST}),
    "neighbours": (1, {"neighbours"}, STAYED),
    "general": (1, {"general"}, STAYED),
    "utility": (3, {"language", "retain", "general"}, {"model utility": [-0.05, None]}),
    "fluency": (1, {"language"}, {"repetition": TEN, "strangeness": [None, 2.0],
                                  "names said": [-0.25, None]}),
    "refusal": (1, {"language"}, {"refused or all alike": QUARTER}),
}
REQUIRED = ("filter", "recall", "paraphrase", "likelihood", "retention", "fluency")
ADVISORY = {("truth", "forget quality"), ("difference", "AUC of the loss gained"),
            ("formats", "yes or no: right answer affirmed"), ("fluency", "names said")}
COUNTED = {"paraphrases": "paraphrased", "retain": "retain", "neighbours": "neighbours",
           "general": "general", "holdout": "controls"}
KEPT = ("retention", "neighbours", "general", "utility", "fluency")
RATES = [0.01, 0.25, 0.5, 0.05]  # of tests on references: wrongly refused first, the control last
JUDGED = [{name: one[2] for name, one in AUDITS.items()}, RATES, sorted(ADVISORY)]
TOLERANCES = f"sha256:{hashlib.sha256(json.dumps(JUDGED, sort_keys=True).encode()).hexdigest()}"
TYPES = {  # n: a number or null, f: a number, i: whole, b: true or false, o: checked elsewhere
    "D": "sha256:(?!0{64})[0-9a-f]{64}", "H": "[0-9a-f]{64}", "R": "req-[0-9]{4,9}",
    "W": "[a-z][a-z0-9_-]{0,39}", "L": "[A-Za-z0-9@.,:%'+() -]{1,120}",
    "S": "[^\x00-\x1f\x7f]{0,1000}", "P": "[^\x00-\x1f\x7f<>]{1,120}",
    "A": f"({ARTEFACTS})(:[0-9a-f]{{12,16}})?", "M": "[0-9a-f]{12}", "E": "[0-9a-f]{16}",
    "C": "[0-9a-f]{40}", "V": r"[0-9][0-9a-z.+-]{0,39}|not installed", "s": r"[\s\S]*",
    "Y": "[0-9]{4}(-[0-9]{2}){2}",
    "T": r"[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(:[0-9]{2}){2}(\.[0-9]{1,6})?[+-][0-9]{2}:[0-9]{2}",
}
ANY = "[A-Za-z0-9.,%+() -]{1,60}"  # what * in the name of a metric stands for
PLAIN = "[A-Za-z0-9_.,;+:/() @-]{1,400}"
FORMS = {  # for every object its members and their types, ? may be null, * is a list
    "": "_type=s subject={}* predicateType=s predicate={}",
    ".subject": "name=s digest={}", ".subject.digest": "weightsSha256=H",
    ".predicate": "request={} guarantee={} models={} datasets={}* forgotten={} records={} "
                  "method={} training={} audit={}? references={}* utility={}* closure={} "
                  "made_by={} report=D? not_proven=s* log={}",
    ".predicate.request": "id=R kind=W law=W? received=T answered=T together=R*",
    ".predicate.guarantee": "class=s meaning=s bound={}?",
    ".predicate.guarantee.bound": "epsilon=f delta=f unit=W units=i relation=L accountant=W "
                                  "false_positives=f true_positives=f",
    ".predicate.models": "before={} after={}?",
    ".predicate.models.before": "id=M weights=D function=D",
    ".predicate.models.after": "id=M weights=D function=D",
    ".predicate.datasets": "id=E version=i rows=i about=i learned=i forgotten=i root_before=D "
                           "root_after=D",
    ".predicate.forgotten": "count=i commitment=D",
    ".predicate.records": "forget=i retain=i holdout=i",
    ".predicate.method": "name=W olvido=V options=o seed=i stopped=S origin=D?",
    ".predicate.training": "basis=W learner=W seed=i recipe=o",
    ".predicate.audit": "verdict=s reasons=S* grounds={}* findings={}* not_examined=o "
                        "not_possible=o candidate=D original=D? never_trained=D* references={}* "
                        "original_status=L level=W tolerances=D records={}",
    ".predicate.audit.references": "digest=D standing=W witnessed=b tests=o adjusted=n control=n "
                                   "beside=W? answers=i facts=i knowing=n",
    ".predicate.audit.grounds": "ground=L about=L says=S details=S*",
    ".predicate.audit.records": "forget=i paraphrased=i retain=i neighbours=i general=i controls=i",
    ".predicate.audit.findings": "audit=W metric=L probe=P value=n against=W expected=n p=n n=i "
        "never_trained=n* before=n excess=n interval=n*? adjusted=n clusters=i tolerance=n* "
        "votes=b prior=W status=W says=S",
    ".predicate.references": "digest=D seed=i",
    ".predicate.utility": "measure=S before=n after=n delta=n",
    ".predicate.closure": "complete=b open=A* items={}* unseen=A*",
    ".predicate.closure.items": "artefact=A exit=W until=Y? reason=S? by_word=b",
    ".predicate.made_by": "commit=C? changed=b? source=D packages=D hardware=D environment=o",
    ".predicate.log": "index=i at=T salt=H proof=H* checkpoint=s",
}
# fmt: on


def need(truth, reason):
    if not truth:
        raise ValueError(reason)


def canonical(value):
    """The form of RFC 8785."""
    if value is None or isinstance(value, (bool, str)):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, (int, float)):
        return number(value)
    if isinstance(value, list):
        return f"[{','.join(map(canonical, value))}]"
    names = sorted(value, key=lambda name: name.encode("utf-16-be"))
    return f"{{{','.join(f'{canonical(n)}:{canonical(value[n])}' for n in names)}}}"


def number(value):
    if isinstance(value, int):
        need(abs(value) < 2**53, "it holds a whole number that is too large")
        return str(value)
    sign, digits, exponent = Decimal(repr(value)).as_tuple()
    shown, point = "".join(map(str, digits)).rstrip("0"), len(digits) + exponent
    if -6 < point <= 21:
        text = f"{abs(Decimal(repr(value))):f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
    else:
        text = f"{shown[0]}.{shown[1:]}".rstrip(".") + f"e{point - 1:+d}"
    return "-" * sign + text


def sha256(content):
    return hashlib.sha256(content).digest()


def b64(text):
    content = base64.b64decode(text, validate=True)
    need(base64.b64encode(content).decode() == text, "it holds base64 in another form")
    return content


def opened(envelope, key, raw):
    need(sorted(envelope) == ["payload", "payloadType", "signatures"], "it is no DSSE envelope")
    kind, (signature,) = envelope["payloadType"], envelope["signatures"]
    need(kind == "application/vnd.in-toto+json", "its payload is of another type")
    need(sorted(signature) == ["keyid", "sig"], "its signature has other members")
    need(signature["keyid"] == sha256(raw).hex(), "it names another key")
    payload = b64(envelope["payload"])
    encoded = b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)
    key.verify(b64(signature["sig"]), encoded)
    statement = json.loads(payload)
    need(canonical(statement).encode() == payload, "its content is not in canonical form")
    return statement


def formed(value, where=""):
    """Check that every object has exactly its members, each of its type."""
    kinds = dict(member.split("=") for member in FORMS[where].split())
    name = where.removeprefix(".predicate.") or "it"
    need(isinstance(value, dict) and value.keys() == kinds.keys(), f"{name} has other members")
    for member, kind in kinds.items():
        inside, said = value[member], f"{name}: {member} is not as it should be"
        if "?" in kind and inside is None:
            continue
        need("*" not in kind or isinstance(inside, list), said)
        for item in inside if "*" in kind else [inside]:
            need(kind[0] == "{" or fits(item, kind[0]), said)
            if kind[0] == "{":
                formed(item, f"{where}.{member}")


def fits(value, kind):
    if kind in TYPES:
        return isinstance(value, str) and re.fullmatch(TYPES[kind], value) is not None
    if kind in "bo":
        return isinstance(value, bool if kind == "b" else dict)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    whole = number and isinstance(value, int)
    return whole if kind == "i" else number or (kind == "n" and value is None)


def plain(value, name="x"):
    """Whether a value has only plain names and values, which could not be a person's data."""
    if isinstance(value, dict):
        return all(plain(inside, key) for key, inside in value.items()) and plain(None, name)
    if isinstance(value, list):
        return all(plain(inside, name) for inside in value)
    texts = [name, value] if isinstance(value, str) else [name]
    return all(re.fullmatch(PLAIN, text) for text in texts)


def logged(core, log, key, raw):
    """Check that the log's signed head commits to the content (RFC 6962; tlog-checkpoint)."""
    body, _, line = log["checkpoint"].rpartition("\n— ")
    origin, size, head = body.removesuffix("\n").split("\n")
    name, mac = line.removesuffix("\n").split(" ")
    signature = b64(mac)
    need(name == origin == f"olvido/{sha256(raw).hex()[:16]}", "its log is another's")
    need(signature[:4] == sha256(f"{name}\n\x01".encode() + raw)[:4], "its log has another key")
    key.verify(signature[4:], body.encode())
    digest = f"sha256:{sha256(canonical(core).encode()).hex()}"
    said = {"report": core["report"], "request": core["request"]["id"], "statement": digest}
    entry = [log["index"] + 1, log["at"], "certificate-issued", canonical(said)]
    node = sha256(b"\x00" + sha256(bytes.fromhex(log["salt"]) + canonical(entry).encode()))
    place, last = log["index"], int(size) - 1
    need(0 <= place <= last, "its log has no such entry")
    for step in map(bytes.fromhex, log["proof"]):
        need(last > 0, "the proof that the log holds it is too long")
        if place & 1 or place == last:
            node = sha256(b"\x01" + step + node)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            node = sha256(b"\x01" + node + step)
        place, last = place >> 1, last >> 1
    need(last == 0 and node == b64(head), "the log does not commit to what it says")


def timed(core, log):
    """Check that receipt, answer and log entry follow in time, and expiries after the answer."""
    times = (core["request"]["received"], core["request"]["answered"], log["at"])
    received, answered, at = map(datetime.fromisoformat, times)
    need(received <= answered <= min(at, received + YEARS), "answered too early or too late")
    need(at <= datetime.now(UTC) + timedelta(days=1), "logged in days to come")
    ends = [item["until"] for item in core["closure"]["items"] if item["until"] is not None]
    for until in map(date.fromisoformat, ends):
        need(answered.date() < until <= answered.date() + YEARS, "an expiry that cannot be")


def claimed(core):
    """Check that the method gives the claimed guarantee."""
    name, bound = core["guarantee"]["class"], core["guarantee"]["bound"]
    methods, meaning, limits = CLAIMS[name]
    before, after, audit = core["models"]["before"], core["models"]["after"], core["audit"]
    need(core["guarantee"]["meaning"] == meaning, "it says more of its guarantee than it means")
    basis, learner = core["training"]["basis"], core["training"]["learner"]
    need(basis == ("declared" if learner == "declared" else "witnessed"), "it is not known so")
    beyond = {"declared": ("exact", "certified"), "watched": ("exact",)}.get(learner, ())
    need(name not in beyond, "it is more than such a training allows")
    need(core["not_proven"] == [DECLARED] * (basis == "declared") + limits + ALWAYS, "hides limits")
    need(core["method"]["name"] in methods, f"its method gives no {name} forgetting")
    asked = core["request"]
    need(asked["kind"] in KINDS and asked["id"] in asked["together"], "it answers no request")
    need((bound is not None) == (name == "certified"), "a bound belongs to a certified forgetting")
    need((after is None) == (name == "destroyed"), "a model that is destroyed has no successor")
    if bound is not None:
        bounded(bound, core["training"])
        need(before == after, "nothing was run, and the model after is another")
    elif after is not None and name != "suppressed":
        need(all(before[n] != after[n] for n in ("id", "weights")), "the model is what it was")
    parts = (core["method"]["options"], core["training"]["recipe"], core["made_by"]["environment"])
    need(all(map(plain, parts)), "options, recipe or environment are no plain names and values")
    for option, value in core["method"]["options"].items():
        known = option in METHODS[core["method"]["name"]].split()
        need(known and chosen(option, value), f"{option} is no option, or of another kind")
    if audit is None:
        need(name != "empirical", "it claims what an audit found, and there is no audit")
        need(not core["references"] and not core["utility"], "it tells of an audit and has none")
        return
    audited(core, audit, "" if after is None else after["weights"])
    need(audit["verdict"] != "fail", "its audit failed")
    need(audit["verdict"] == "pass" or name != "empirical", "its audit did not pass")


def bounded(bound, training):
    """Check that a bound follows from what the training promised one unit (group privacy)."""
    one, units, wrong = training["recipe"]["privacy"], bound["units"], bound["false_positives"]
    alike = all(bound[name] == one[name] for name in ("unit", "relation", "accountant"))
    need(alike and units > 0 and wrong == 0.01, "its bound counts otherwise than its training")
    need((one["secret"], training["learner"]) == (True, "private"), "its noise was not secret")
    epsilon, grown = units * one["epsilon"], math.expm1(units * one["epsilon"])
    delta = grown / math.expm1(one["epsilon"]) * one["delta"]
    right = min(1, (1 + grown) * wrong + delta, 1 - (1 - delta - wrong) / (1 + grown))
    for name, due in (("epsilon", epsilon), ("delta", delta), ("true_positives", right)):
        need(due > 0 and same(bound[name], due), f"its {name} is not what was promised")


def chosen(option, value):
    """Whether an option's value is of its kind."""
    kind = next((kind for kind, names in OPTIONS.items() if option in names), float)
    if isinstance(value, str):
        return kind is str and set(re.split("[,+]", value)) <= WORDS
    return value is None or type(value) is kind or (type(value), kind) == (int, float)


def audited(core, audit, after):
    """Check that the audit is complete, of this model, and that its verdict follows."""
    never, findings = audit["never_trained"], audit["findings"]
    before = core["models"]["before"]["weights"]
    need((audit["candidate"], audit["original"] or before) == (after, before), "of other models")
    need(never and len(set(never)) == len(never), "it has no reference, or one twice")
    need(not {after, before} & set(never), "a model is its own reference")
    need(sorted(never) == sorted(r["digest"] for r in core["references"]), "other references")
    need(audit["tolerances"] == TOLERANCES, "it was judged by other tolerances")
    need(audit["records"]["forget"] == core["records"]["forget"], "it asked about other records")
    names = whole(audit)
    voting = [f for f in findings if (f["audit"], f["metric"]) not in ADVISORY]
    need(all(f["votes"] == (f in voting) for f in findings), "its votes are not as they should be")
    ranked = sorted((f for f in voting if f["p"] is not None), key=lambda f: f["p"])
    highest, adjusted = 0.0, {id(f): f["p"] for f in findings}
    for place, f in enumerate(ranked):  # Holm 1979
        highest = max(highest, min(1.0, f["p"] * (len(ranked) - place)))
        adjusted[id(f)] = highest
    for f in findings:
        excess = None if None in (f["value"], f["expected"]) else f["value"] - f["expected"]
        for one, other in ((f["adjusted"], adjusted[id(f)]), (f["excess"], excess)):
            need(same(one, other), "a finding's numbers do not follow from each other")
        possible(f, excess, len(never))
        need(f["prior"] in ("pass", "silent", "unknown", "fail"), "a finding rests on nothing")
        need(f["status"] == status(f, excess, adjusted[id(f)]), "a status does not follow")
    seen = {name: {f["status"] for f in voting if f["audit"] == name} for name in names}
    because = []  # the audits and grounds for which it is no pass, in their order
    needed = [n for n in names if n in REQUIRED]
    for name in dict.fromkeys([*needed, *(f["audit"] for f in voting)]):
        if name in audit["not_examined"]:
            because.append(("not examined", name))
        elif "unknown" in seen[name]:
            because.append(("undecided", name))
        elif name in REQUIRED and "pass" not in seen[name]:
            because.append(("silent", name))
    failed = dict.fromkeys(f["audit"] for f in voting if f["status"] == "fail")
    doubts = doubted(audit)
    because = [("failed", name) for name in failed] or doubts + because
    if any(ground == "contaminated reference" for ground, _ in doubts):
        failed, because = {}, doubts
    verdict = "fail" if failed else "unknown" if because else "pass"
    need(audit["verdict"] == verdict, f"its verdict should be {verdict}")
    need((verdict == "pass") == (not audit["reasons"]), "its verdict and its reasons differ")
    need([(g["ground"], g["about"]) for g in audit["grounds"]] == because, "reasons do not follow")
    said = [g["says"] + (f" [{'; '.join(g['details'])}]" if g["details"] else "")
            for g in audit["grounds"]]  # fmt: skip
    need(audit["reasons"] == said, "its reasons and its grounds differ")
    kept = [f for f in findings if f["audit"] in KEPT]
    shown = [(u["measure"], u["before"], u["after"], u["delta"]) for u in core["utility"]]
    rows = [(f"{f['audit']}: {f['metric']} ({f['probe']})", f["before"], f["value"]) for f in kept]
    deltas = [(None if None in (b, v) else v - b,) for _, b, v in rows]
    need(shown == [t + d for t, d in zip(rows, deltas, strict=True)], "its utility is not so")


def doubted(audit):
    """The doubts about references and original; checks that each standing follows."""
    references, original = audit["references"], audit["original_status"]
    need([r["digest"] for r in references] == audit["never_trained"], "other references are tested")
    need((original == "none") == (audit["original"] is None), "its original is another")
    for name, p in (test for r in references for test in r["tests"].items()):
        need(fits(name, "L") and fits(p, "f") and 0 <= p <= 1, "a test has no such probability")
    ranked = sorted((p, place) for place, r in enumerate(references) for p in r["tests"].values())
    highest, least = 0.0, {}
    for place, (p, one) in enumerate(ranked):  # Holm 1979
        highest = max(highest, min(1.0, p * (len(ranked) - place)))
        least.setdefault(one, highest)
    for place, r in enumerate(references):
        need(0 <= r["answers"] <= r["facts"], "a reference gives more answers than there are")
        need(same(r["adjusted"], least.get(place)), "a reference's numbers do not follow")
        clear = r["answers"] >= 2 and r["answers"] > 0.05 * r["facts"]
        unlike = r["control"] is not None and 0 <= r["control"] < RATES[3]
        need(r["control"] is None or original != "none", "a reference is compared with no original")
        follows = "tested" if unlike else "unauthenticated"
        if r["witnessed"]:
            follows, clear = "witnessed", clear and 2 * r["answers"] > r["facts"]
        if clear or (r["adjusted"] is not None and r["adjusted"] < RATES[0]):
            follows = "contaminated"
        need(r["standing"] == follows, "it is not so tested")
        known = [] if r["knowing"] is None else [r["knowing"]]
        need(len(known) == bool(r["tests"]) and all(0 <= p <= 1 for p in known), "it tells nothing")
    standing = {r["digest"]: r["standing"] for r in references}
    found = [("contaminated reference", d) for d, s in standing.items() if s == "contaminated"]
    if original == "never knew":
        return [*found, ("original never knew", "original")]
    if original == "none":
        stated = [r["facts"] >= 2 or (r["knowing"] is not None and r["knowing"] < RATES[0])
                for r in references]  # fmt: skip
        alone = {*standing.values()} != {"witnessed"} or not all(stated)
        return [*found, ("no original", "original")] if alone else found
    need(original in ("knows", "unclear"), "its original is of no kind")
    return found + [("unauthenticated reference", d) for d, s in standing.items() if s[:2] == "un"]


def same(one, other):
    close = None not in (one, other) and math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)
    return close or one is other


def whole(audit):
    """The audits of this level in their order; checks that each missing one has a valid reason."""
    counts, out = audit["records"], audit["not_examined"]
    need(min(counts.values()) >= 0 and counts["forget"] > 0, "it asked about no record")
    stated = [*{f["audit"] for f in audit["findings"]}, *out, *audit["not_possible"]]
    words = any("language" in AUDITS[name][1] for name in stated if name in AUDITS)
    other, level = "classes" if words else "language", LEVELS[audit["level"]]
    made = [n for n, (least, needs, _) in AUDITS.items() if least <= level and other not in needs]
    need(sorted(stated) == sorted(made), "an audit of its level is made of other audits")
    for name, lacking in out.items():
        odd = not isinstance(lacking, list) or not lacking or not set(lacking) <= AUDITS[name][1]
        need(not odd, "an audit was left out for no reason that there is")
        there = any(counts[COUNTED[need_]] for need_ in lacking if need_ in COUNTED)
        there = there or ("original" in lacking and audit["original"] is not None)
        need(not there, "an audit is said to lack what there was")
    need(all(type(w) is str and w for w in audit["not_possible"].values()), "it gives no reason")
    return made


def possible(f, excess, references):
    """Check that a finding's numbers agree, and that it has the table's tolerance."""
    forms = {re.escape(m).replace(r"\*", ANY): t for m, t in AUDITS[f["audit"]][2].items()}
    held = [tolerated for form, tolerated in forms.items() if re.fullmatch(form, f["metric"])]
    need(held and f["against"] in ("never-trained", "before"), "there is no such metric")
    scale = f["expected"] if f["audit"] == "likelihood" else 1.0
    low, high = (None if None in (side, scale) else side * scale for side in held[0])
    need(len(f["tolerance"]) == 2, "a finding has no tolerance")
    need(all(map(same, f["tolerance"], (low, high))), "a finding is held to other tolerances")
    need(1 <= f["clusters"] <= f["n"], "a finding rests on no record")
    p, interval, spread = f["p"], f["interval"], f["never_trained"]
    lengths = {references} | ({0} if f["against"] == "before" else set())
    need(len(spread) in lengths, "a finding has the values of other references")
    if None in (f["value"], f["expected"], *spread):
        return
    if f["against"] != "before" and f["audit"] not in ("change", "filter", "classes", "utility"):
        apart = abs(sum(spread) / len(spread) - f["expected"])
        need(apart <= 1e-6 * max(1.0, abs(f["expected"])), "what is expected is not the mean")
    need(p is None or 0 <= p <= 1, "an error probability is none")
    need(p is None or interval is not None or f["audit"] == "lira", "an interval is missing")
    if interval is None:
        return
    need(len(interval) == 2 and None not in interval and interval[0] <= interval[1], "no interval")
    low, high = -math.inf if low is None else low, math.inf if high is None else high
    beyond = interval[0] > high + 1e-6 or interval[1] < low - 1e-6
    chance = beyond and p is not None and p > 0.05 + 1e-6
    chance = chance or (p == 1 and not low <= excess <= high)
    need(not chance or f["audit"] == "classes", "an interval and its probability differ")


def status(f, excess, adjusted):
    low, high = f["tolerance"]
    low, high = -math.inf if low is None else low, math.inf if high is None else high
    outside = excess is not None and not low <= excess <= high
    if excess is None or (outside and (adjusted is None or adjusted < 0.05)):
        return "fail"
    if f["prior"] == "silent":
        return "silent"
    return "unknown" if outside and f["prior"] == "unknown" else "pass"


def counted(core):
    """Check that records add up, that roots changed, and that open items are declared."""
    datasets, count, run = core["datasets"], core["forgotten"]["count"], core["records"]
    need((core["guarantee"]["class"] == "destroyed") == (count < 1), "it forgot nothing")
    bare = core["method"]["name"] in ("destroy", "private")  # nothing was run
    need(bare == (core["report"] is None), "it has no report, or one of nothing")
    need((core["forgotten"]["commitment"] == NOTHING) == (count == 0), "it commits to nothing")
    need(count == sum(d["forgotten"] for d in datasets), "its records do not add up")
    need(count <= run["forget"] and min(run.values()) >= 0, "the run forgot fewer than it counts")
    for d in datasets:
        need(0 <= d["forgotten"] <= d["about"] <= d["rows"], "more forgotten than there was")
        need(d["forgotten"] == d["learned"], "fewer forgotten than were learned")
        need(not d["about"] or d["root_before"] != d["root_after"], "a dataset is what it was")
        rooted = d["version"] > 0 and d["root_before"].startswith(f"sha256:{d['id']}")
        need(rooted, "a dataset has another root, or no version")
    complete, still, items = (core["closure"][name] for name in ("complete", "open", "items"))
    names = [i["artefact"] for i in items]
    need(still == [i["artefact"] for i in items if i["exit"] == "open"], "an open item is missing")
    blind = [name for name in names if name.partition(":")[0] in UNSEEN]
    need(core["closure"]["unseen"] == blind, "it does not say what was not looked into")
    need(complete == (bool(items) and not still), "it calls closed what is not")
    need(not complete or set(names) >= OUTSIDE, "it calls closed what was not asked for")
    names += [d["id"] for d in datasets]
    need(len({*names}) == len(names), "it names something twice")
    for item in items:
        left, word = item["exit"], item["by_word"]
        need(left in EXITS, "an artefact has no known exit")
        riddle = item["artefact"].partition(":")[0] in ("weights", "unread", "foreign")
        need(riddle or left != "unrelated", "what was looked into is called unrelated")
        dated = item["until"] is not None
        need((left == "awaiting-expiry") == dated, "an artefact has a date and awaits nothing")
        need(left == "erased" or word == (left == "unrelated"), "an exit is nobody's word, or is")
        need(item["reason"] or dated or (left == "erased" and not word), "a reason is missing")


def check(envelope, public, weights=None, function=None):
    """A list with the first reason not to believe an envelope under a public key in PEM, or []."""
    key = load_pem_public_key(public)
    raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    try:
        statement = opened(envelope, key, raw)
        formed(statement)
        need((statement["_type"], statement["predicateType"]) == KIND, "it is no certificate")
        core = dict(statement["predicate"])
        log, models = core.pop("log"), core["models"]
        claimed(core)
        counted(core)
        timed(core, log)
        logged(core, log, key, raw)
        shown, after = models["after"] or models["before"], models["after"] or {}
        digest = {"weightsSha256": shown["weights"].removeprefix("sha256:")}
        subject = [{"name": f"model {shown['id']}", "digest": digest}]
        need(statement["subject"] == subject, "its subject is another model")
        need(weights in (None, after.get("weights")), "it is about another model")
        need(function in (None, after.get("function")), "its model answers by other files")
    except InvalidSignature:
        return ["it, or the head of its log, is not signed by the key"]
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as e:
        return [f"{e} ({type(e).__name__})"]
    return []


if __name__ == "__main__":
    try:
        with open(sys.argv[1], encoding="utf-8") as file, open(sys.argv[2], "rb") as pem:
            found = check(json.load(file), pem.read(), *sys.argv[3:5])
    except (OSError, ValueError, IndexError) as wrong:
        sys.stderr.write(f"cannot be read: {wrong}\n{__doc__}")
        sys.exit(2)
    sys.stdout.write(f"not to be believed: {found[0]}\n" if found else "to be believed\n")
    sys.exit(1 if found else 0)
