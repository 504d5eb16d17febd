"""The certificate of an answered request: what was done, what the audits found, and what it does
not prove. It is signed and logged, and claims no more than its evidence."""

from olvido.requests.certificate.check import CertificateCheck, check
from olvido.requests.certificate.issue import certificate_about, certificates_of, issue

__all__ = ["CertificateCheck", "certificate_about", "certificates_of", "check", "issue"]
