"""The portal's command with another patience: what a request waits for (the controller, the watch) may take long on a busy machine.

PATIENCE: seconds, in the place of the five that a person is made to wait before a page says that it takes a moment.
"""

import os
import sys

from cube_oauth.__main__ import main
from cube_oauth.portal import admin, cluster, connect

connect.PATIENCE = admin.PATIENCE = cluster.LAG = float(os.environ["PATIENCE"])
sys.exit(main(["portal"]))
