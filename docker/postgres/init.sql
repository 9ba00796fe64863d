-- An ordinary role: two-phase commit needs no privilege. Recovery must log in as the same role,
-- because only the role that prepared a branch (or a superuser) may finish it.
CREATE ROLE app LOGIN PASSWORD 'app';
CREATE DATABASE bank OWNER app;
