"""autoheal: an auto-remediation gateway between Alertmanager and the things it watches."""

__version__ = "0.1.0"
