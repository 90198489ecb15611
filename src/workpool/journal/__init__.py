"""A journal keeps the results of a map call, so that the same call goes on where it stopped.

.. code-block:: text

    settings.py    Journal: what a user says
    digests.py     which item it is
    identity.py    which function it is: by its code, and by what it holds
    holdings.py    what a function is bound to and closes over, looked into
    store.py       the SQLite file: opened, locked, checked, read, written
    hold.py        one program at a time, whatever is done with the file
    refusals.py    why a journal is not gone on with, and the way out
    scribe.py      between a map call and its file: restores, stores, and only then settles

Loaded by the first map call that has one.
"""
