"""The side that a row of `participants` is on, as SQL."""

_SIDE = """
    CASE WHEN {0}.role IN ('client', 'co_client') THEN 'client'
         WHEN {0}.role IN ('owner', 'agent') THEN 'owner'
         ELSE {0}.former_side END
"""


def side_of(alias: str) -> str:
    """The side that the cursors of a row are of, those who left included; NULL for none.

    An observer who was on a side before has read for that.
    """
    return _SIDE.format(alias)
