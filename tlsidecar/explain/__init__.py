"""Why a peer is let in or not: asked of the code that decides, for the past and for a certificate in hand.

:mod:`.judging` tries a chain on a listener, :mod:`.allowing` finds the line that would let exactly this peer in.
"""
