"""Why a post-processing cannot be replaced."""


class UnsuitableError(Exception):
    """A post-processing is not what the target's operator computes, or that cannot be proven.

    The message is a clause without a full stop, for ``Declined``.
    """
