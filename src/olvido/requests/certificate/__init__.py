"""The certificate of an answered request: what was done, what it was found to come to, what it
does not prove; signed, in the log, and never more than its evidence."""

from olvido.requests.certificate.check import CertificateCheck, check
from olvido.requests.certificate.issue import certificate_about, certificates_of, issue

__all__ = ["CertificateCheck", "certificate_about", "certificates_of", "check", "issue"]
