-- Without it XA RECOVER answers 1401, and recovery cannot see the prepared branches.
GRANT XA_RECOVER_ADMIN ON *.* TO 'app'@'%';
