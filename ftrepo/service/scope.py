"""What a scope is made of, for whoever reads one: RFC 6749, section 3.3."""

SCOPE_PATTERN = r"[\x21\x23-\x5b\x5d-\x7e]+"
"""A regular expression: visible ASCII without the quotation mark and the backslash."""
