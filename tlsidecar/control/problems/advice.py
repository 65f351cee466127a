"""What to do about each kind of problem: the words are part of the record, so that API, command line and UI agree."""

from __future__ import annotations

ADVICE = {
    "certificate_expired": "Peers refuse us. Put a new certificate in place, or rotate (tlsidecar rotate).",
    "certificate_expiring": "Whoever issues or writes it has to renew it now; then tlsidecar rotate. The last attempt "
    "(tlsidecar certificates) says what went wrong, if something did.",
    "certificate_due": "Files are renewed by whoever writes them (cert-manager, certbot, certs rotate): see that it "
    "does. They are taken up by themselves.",
    "certificate_not_yet_valid": "The issuer's clock is ahead, or ours is behind: look at both (timedatectl).",
    "renewal_failing": "What is served now goes on. Look at the issuer; tlsidecar rotate tries again at once.",
    "renewal_overdue": "Look at the issuer; tlsidecar rotate tries at once.",
    "authority_expired": "Change the CA in three steps while both are trusted: tlsidecar certs rollover.",
    "authority_expiring": "Change the CA in three steps while both are trusted: tlsidecar certs rollover.",
    "crl_expired": "Write a new one (tlsidecar certs crl); it is taken up by itself.",
    "crl_expiring": "Write a new one (tlsidecar certs crl); it is taken up by itself.",
    "crl_unreachable": "Look at the server, and at the way there. It is tried again every minute.",
    "reload_refused": "What was served before is still served. Mend what is named, then tlsidecar reload.",
    "newer_at_hand": "Mend what is wrong with it while the old one is still valid, then tlsidecar reload.",
    "trust_mismatch": "Right when the two sides use different CAs on purpose. Otherwise the trust bundle and the "
    "certificate are of different generations of the CA.",
    "upstream_down": "Look at the service itself: is it running, and does it listen there? The sidecar goes on "
    "trying, and this ends with the first answer.",
    "requests_failing": "Look at the service's own log; tlsidecar failures names what failed at which upstream.",
    "upstream_not_ready": "Look at the service itself. This sidecar is not ready until a check passes.",
    "connections_nearly_full": "At the limit, new ones are refused. Raise max_connections, or find who holds them "
    "(tlsidecar connections).",
    "handshakes_nearly_full": "At the limit, new ones are refused. Raise max_handshakes, or find who leaves them open "
    "(tlsidecar refusals).",
    "repeated_refusal": "If it should be let in, add an access rule for it; if not, find out who uses it. tlsidecar "
    "refusals has each one.",
    "worker_failing": "Its log lines say what ends it. The other workers serve meanwhile.",
    "worker_lag": "The machine or this worker has too much to do: look at its CPU, limits and neighbours.",
    "configuration_changed": "tlsidecar reload puts the file to use, all of it or nothing; where a restart is needed "
    "for some of it, restart the sidecar, or take that back.",
    "configuration_invalid": "tlsidecar check names every mistake with its line. What is in force goes on.",
    "clock_jumped": "Look at the machine's time service (timedatectl, chronyc tracking).",
    "log_lines_dropped": "Nobody reads the log fast enough: look at the disk, or at what collects stderr.",
    "draining": "New connections are refused until tlsidecar undrain, or a new start.",
    "identity_denied": "It ends by itself; tlsidecar undeny ends it now. For good is what access rules are for.",
    "internal_error": "Please report it, with the traceback in the log. What it was about is not shown meanwhile; "
    "traffic is not touched.",
}
