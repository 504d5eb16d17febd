"""A reminder as an e-mail: plain text, by TLS."""

from __future__ import annotations

import smtplib
import ssl
from email.message import EmailMessage
from email.utils import formatdate, make_msgid

from olvido.requests.reminders.configuration import Mail
from olvido.requests.reminders.delivery import PATIENCE, Failed


def message(mail: Mail, subject: str, text: str) -> EmailMessage:
    """The e-mail, with the headers that keep vacation notices from answering it (RFC 3834)."""
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = mail.sender, ", ".join(mail.to), subject
    made["Date"] = formatdate()
    made["Message-ID"] = make_msgid(domain=mail.sender.rpartition("@")[2])
    made["Auto-Submitted"] = "auto-generated"
    made.set_content(text)
    return made


def send(mail: Mail, made: EmailMessage, password: str | None) -> None:
    """Send an e-mail once.

    Raises:
        Failed: nobody got it, or somebody did not; who did is not written to again for that.
    """
    context = ssl.create_default_context()
    try:
        with _connected(mail, context) as server:
            if mail.security == "starttls":
                server.starttls(context=context)
            if mail.user is not None and password is not None:
                server.login(mail.user, password)
            refused = server.send_message(made)
    except smtplib.SMTPRecipientsRefused:
        raise Failed("the mail server takes mail for none of them", passing=False) from None
    except smtplib.SMTPResponseException as error:
        # What the server says may repeat addresses.
        raise Failed(
            f"the mail server answered {error.smtp_code}", passing=400 <= error.smtp_code < 500
        ) from None
    except smtplib.SMTPNotSupportedError:
        raise Failed("the mail server offers no TLS, or no login", passing=False) from None
    except ssl.SSLCertVerificationError:
        raise Failed("the mail server's certificate is not to be trusted", passing=False) from None
    except (OSError, smtplib.SMTPException) as error:
        raise Failed(
            f"the mail server did not answer ({type(error).__name__})", passing=True
        ) from None
    if refused:
        raise Failed(
            f"{len(refused)} of {len(mail.to)} addresses were refused",
            passing=False,
            partly=True,
        )


def _connected(mail: Mail, context: ssl.SSLContext) -> smtplib.SMTP:
    if mail.security == "tls":
        return smtplib.SMTP_SSL(mail.host, mail.port, timeout=PATIENCE, context=context)
    return smtplib.SMTP(mail.host, mail.port, timeout=PATIENCE)
