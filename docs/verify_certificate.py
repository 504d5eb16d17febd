"""Check a certificate of forgetting without Olvido: Python and the package `cryptography` alone.

    python verify_certificate.py CERTIFICATE.json ISSUER.pub [sha256:DIGEST_OF_THE_MODELS_WEIGHTS]

Says on standard output whether the certificate is to be believed, and why not. Exit status 0 where
it is, 1 where it is not, 2 where a file cannot be read. Get the key from its issuer, not from
whoever shows you the certificate. It shares no code with Olvido; see docs/certificates.md.
"""

import base64
import hashlib
import json
import math
import sys
from datetime import date, datetime
from decimal import Decimal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

# fmt: off
COPIES = "anything about copies of the data or of earlier model versions elsewhere"
EQUAL = "that the weights equal those of a model that never learned the records"
CLAIMS = {  # of each guarantee: methods that give it (None: any), its meaning, what it leaves open
    "exact": (("drop", "module", "shard", "replay", "retrain"),
              "equal to a training in which the records never took part",
              ["that this machine did what the log says: check it with 'olvido verify-exact'",
               "that the weights the training began with never knew the records", COPIES]),
    "certified": ((), "within epsilon and delta of such a training, under stated assumptions",
                  ["anything where the assumptions of the bound do not hold", EQUAL, COPIES]),
    "empirical": (None, "passed the audits named, and promises nothing beyond them",
                  ["that no other question could bring the records back: only these audits were "
                   "made", EQUAL, COPIES]),
    "suppressed": ((), "hidden at the output; the weights still hold it",
                   ["that anything was forgotten: the weights still hold it, and only answers are "
                    "held back", COPIES]),
    "destroyed": (("destroy",), "the model itself is gone",
                  ["that no other model learned the same records", COPIES]),
}
KIND = ("https://in-toto.io/Statement/v1", "urn:olvido:forgetting-certificate:v1")
KINDS = ("erasure", "opt-out", "poison", "outdated", "destroy")
EXITS = ("erased", "awaiting-expiry", "cannot", "open")
# Of audits: findings that do not vote, audits without which nothing passes, and those in words.
ADVISORY = {("truth", "forget quality"), ("difference", "AUC of the loss gained")}
REQUIRED = ("filter", "recall", "likelihood", "collateral")
REQUIRED_IN_WORDS = ("paraphrase", "fluency")
IN_WORDS = {"paraphrase", "probes", "extraction", "truth", "exposure", "sampling", "same-form",
            "lens", "patching", "utility", "fluency", "refusal"}
KEPT = ("collateral", "neighbours", "general", "utility", "fluency")
MEMBERS = {  # of every object, by where it stands; nothing else has a place in a certificate
    "": "_type predicate predicateType subject", "subject[]": "digest name",
    "predicate": "audit closure datasets forgotten guarantee log made_by method models not_proven "
                 "references report request training utility",
    "predicate.request": "answered id kind law received together",
    "predicate.guarantee": "bound class meaning", "predicate.models": "after before",
    "predicate.models.before": "id weights", "predicate.models.after": "id weights",
    "predicate.datasets[]": "about forgotten id root_after root_before rows version",
    "predicate.forgotten": "commitment count", "predicate.training": "learner recipe seed",
    "predicate.method": "name olvido options seed stopped",
    "predicate.audit": "before findings grounds level never_trained not_examined not_possible "
                       "reasons records suspect tolerances verdict",
    "predicate.audit.grounds[]": "about details ground says", "predicate.audit.findings[]":
        "adjusted against audit before clusters excess expected interval metric n never_trained p "
        "prior probe says status tolerance value votes",
    "predicate.references[]": "digest seed", "predicate.utility[]": "after before delta measure",
    "predicate.closure": "complete items open",
    "predicate.closure.items[]": "artefact exit reason until",
    "predicate.made_by": "changed commit environment hardware packages source",
    "predicate.log": "at checkpoint index proof salt",
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
    shown = "".join(map(str, digits)).rstrip("0")
    point = len(digits) + exponent
    if len(shown) <= point <= 21:
        text = shown + "0" * (point - len(shown))
    elif 0 < point <= 21:
        text = f"{shown[:point]}.{shown[point:]}"
    elif -6 < point <= 0:
        text = f"0.{'0' * -point}{shown}"
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


def members(value, where=""):
    """Every object has its members, and no other."""
    if where in MEMBERS and value is not None:
        need(" ".join(sorted(value)) == MEMBERS[where], f"{where or 'it'} has other members")
    for name, item in value.items() if isinstance(value, dict) else ():
        members(item, f"{where}.{name}".lstrip("."))
    for item in value if isinstance(value, list) else ():
        members(item, f"{where}[]")


def logged(core, log, key, raw):
    """The log's signed head commits to what is certified (RFC 6962; c2sp.org/tlog-checkpoint)."""
    body, _, line = log["checkpoint"].rpartition("\n— ")
    origin, size, head = body.removesuffix("\n").split("\n")
    name, mac = line.removesuffix("\n").split(" ")
    signature = b64(mac)
    need(name == origin == f"olvido/{sha256(raw).hex()[:16]}", "its log is another's")
    need(signature[:4] == sha256(f"{name}\n\x01".encode() + raw)[:4], "its log has another key")
    key.verify(signature[4:], body.encode())
    said = {"report": core["report"], "request": core["request"]["id"]}
    said["statement"] = f"sha256:{sha256(canonical(core).encode()).hex()}"
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
    answered = datetime.fromisoformat(core["request"]["answered"])
    need(datetime.fromisoformat(core["request"]["received"]) <= answered, "answered before asked")
    need(answered <= datetime.fromisoformat(log["at"]), "logged before it was answered")


def claimed(core):
    """Nothing is claimed that the kind of method does not give."""
    name, bound = core["guarantee"]["class"], core["guarantee"]["bound"]
    methods, meaning, limits = CLAIMS[name]
    before, after, audit = core["models"]["before"], core["models"]["after"], core["audit"]
    need(core["guarantee"]["meaning"] == meaning, "it says more of its guarantee than it means")
    need(core["not_proven"] == limits, "it does not say what it leaves unproven")
    given = methods is None or core["method"]["name"] in methods
    need(given, f"its method gives no {name} forgetting")
    need(core["request"]["kind"] in KINDS, "its request is of no kind")
    need(core["request"]["id"] in core["request"]["together"], "it was not answered at all")
    need((bound is not None) == (name == "certified"), "a bound belongs to a certified forgetting")
    need((after is None) == (name == "destroyed"), "a model that is destroyed has no successor")
    if after is not None and name != "suppressed":
        need(not set(before.values()) & set(after.values()), "the model is what it was")
    if audit is None:
        need(name != "empirical", "it claims what an audit found, and there is no audit")
        need(not core["references"] and not core["utility"], "it tells of an audit and has none")
        return
    audited(core, audit, "" if after is None else after["weights"])
    need(audit["verdict"] == "pass" or name != "empirical", "its audit did not pass")


def audited(core, audit, after):
    """The audit is of this model, and its verdict follows from its findings."""
    never = audit["never_trained"]
    need(audit["suspect"] == after, "its audit is of another model")
    need(never and audit["before"] not in never, "its audit has no honest reference")
    need(audit["before"] in (None, core["models"]["before"]["weights"]), "another model before")
    need(sorted(never) == sorted(r["digest"] for r in core["references"]), "other references")
    findings = audit["findings"]
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
            same = one is other or math.isclose(one, other, abs_tol=1e-9)
            need(same, "a finding's numbers do not follow from each other")
        need(f["status"] == status(f, excess, adjusted[id(f)]), "a status does not follow")
    names = {f["audit"] for f in findings} | {*audit["not_examined"], *audit["not_possible"]}
    required = REQUIRED + (REQUIRED_IN_WORDS if names & IN_WORDS else ())
    seen = {name: {f["status"] for f in voting if f["audit"] == name} for name in names}
    lacking = [n for n in required if "pass" not in seen.get(n, ()) or n in audit["not_examined"]]
    verdict = "unknown" if lacking or any("unknown" in s for s in seen.values()) else "pass"
    verdict = "fail" if any(f["status"] == "fail" for f in voting) else verdict
    need(audit["verdict"] == verdict, f"its verdict should be {verdict}")
    need((verdict == "pass") == (not audit["reasons"]), "its verdict and its reasons differ")
    kept = [f for f in findings if f["audit"] in KEPT]
    shown = [(u["measure"], u["before"], u["after"], u["delta"]) for u in core["utility"]]
    told = [(f"{f['audit']}: {f['metric']} ({f['probe']})", f["before"], f["value"]) for f in kept]
    deltas = [(None if None in (b, v) else v - b,) for _, b, v in told]
    need(shown == [t + d for t, d in zip(told, deltas, strict=True)], "its utility is not so")


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
    """Records add up, roots changed, and what is open is called open."""
    datasets, count = core["datasets"], core["forgotten"]["count"]
    gone = core["guarantee"]["class"] == "destroyed"
    need(gone == (core["report"] is None) == (not count), "it has no report, or forgot nothing")
    need(count == sum(d["forgotten"] for d in datasets), "its records do not add up")
    for d in datasets:
        need(0 <= d["forgotten"] <= d["about"] <= d["rows"], "more forgotten than there was")
        need(not d["about"] or d["root_before"] != d["root_after"], "a dataset is what it was")
        need(d["root_before"].startswith(f"sha256:{d['id']}"), "a dataset has another root")
    complete, still, items = (core["closure"][name] for name in ("complete", "open", "items"))
    need(still == [i["artefact"] for i in items if i["exit"] == "open"], "open items are not told")
    need(complete == (bool(items) and not still), "it calls closed what is not")
    names = [i["artefact"] for i in items] + [d["id"] for d in datasets]
    need(len(set(names)) == len(names), "it names something twice")
    for item in items:
        awaits = item["exit"] == "awaiting-expiry" and bool(date.fromisoformat(item["until"]))
        need(item["exit"] in EXITS, "an artefact has no known exit")
        need(awaits or item["until"] is None, "an artefact has a date and awaits nothing")
        need(item["reason"] or item["exit"] not in ("cannot", "open"), "a reason is missing")


def check(envelope, public, weights=None):
    """The first reason not to believe an envelope under a public key in PEM, or an empty list."""
    key = load_pem_public_key(public)
    raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    try:
        statement = opened(envelope, key, raw)
        members(statement)
        need((statement["_type"], statement["predicateType"]) == KIND, "it is no certificate")
        core = dict(statement["predicate"])
        log, models = core.pop("log"), core["models"]
        claimed(core)
        counted(core)
        logged(core, log, key, raw)
        shown = models["after"] or models["before"]
        digest = {"weightsSha256": shown["weights"].removeprefix("sha256:")}
        subject = [{"name": f"model {shown['id']}", "digest": digest}]
        need(statement["subject"] == subject, "its subject is another model")
        need(weights in (None, (models["after"] or {}).get("weights")), "it is about another model")
    except InvalidSignature:
        return ["it, or the head of its log, is not signed by the key"]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError) as error:
        return [f"{error} ({type(error).__name__})"]
    return []


if __name__ == "__main__":
    try:
        with open(sys.argv[1], encoding="utf-8") as file, open(sys.argv[2], "rb") as pem:
            found = check(json.load(file), pem.read(), *sys.argv[3:4])
    except (OSError, ValueError, IndexError) as wrong:
        sys.stderr.write(f"cannot be read: {wrong}\n{__doc__}")
        sys.exit(2)
    sys.stdout.write(f"not to be believed: {found[0]}\n" if found else "to be believed\n")
    sys.exit(1 if found else 0)
