"""Changes: recorded with the write, put in order by the sequencer, read as audit trail, history and stream.

pending    one row with each write, in its transaction
sequencer  moves committed rows into the log: positions, digests
log        what is in the log, and what becomes of it: verification, redaction, retention
history    what happened to one record
stream     what happens from a position on
"""
