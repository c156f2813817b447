"""What torch.compile needs on a machine."""

import os
import shutil


def has_compiler() -> bool:
    """Whether torch's inductor finds a C++ compiler."""
    return any(shutil.which(name) for name in (os.environ.get("CXX"), "g++", "clang++") if name)
