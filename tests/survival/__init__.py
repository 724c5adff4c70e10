"""What survives: a real controller, killed, stopped and refused at every await of a refresh.

``controller.py`` runs in the processes under test and breaks them as a ``Plan`` says; ``world.py`` starts them and judges by what
the provider and the API server have; ``trials.py`` says what is tried. ``make survive`` tries everything, ``test_survival.py`` a
little of it.
"""
