"""workpool with the heavy ones: what is too large to be installed for every run of the tests.

``nox -s engines`` installs them; elsewhere each module is skipped for want of its package.
"""
