"""`autoheal incident DIR`: all that one wants to have kept before a sick service is restarted, in one bundle.

Each part is gathered by itself: one that fails says so in the report, and the rest is there all the same.
"""
