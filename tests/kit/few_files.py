"""A node that may have few files open: `python -m tests.kit.few_files serve …`."""

import resource

from chatserver.cli import main

FEW = 256

if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (FEW, FEW))
    main()
