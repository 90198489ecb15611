"""A journal keeps the results of a map call, so that the same call goes on where it stopped.

.. code-block:: text

    settings.py    Journal: what a user says
    identity.py    which function it is, and which item: digests
    store.py       the SQLite file: opened, locked, checked, read, written
    scribe.py      between a map call and its file: restores, stores, and only then settles

Loaded by the first map call that has one.
"""
