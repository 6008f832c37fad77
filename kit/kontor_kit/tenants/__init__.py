"""One tenant as a whole: taken out of the database of a service into an archive, and put into another one."""
