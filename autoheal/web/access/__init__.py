"""Who asks, with OIDC on: bearer tokens of programs (RFC 6750), sessions of browsers, and the login between them."""
