#!/bin/sh
# Run once by the image of PostgreSQL, on an empty volume: our role, which may make roles but is no superuser, and
# MLflow's, each with its own database that nobody else may enter.
set -eu
make_role() { # name, password, attributes
    # the password goes in by the environment and \getenv: arguments are seen by every process
    ROLE_PASSWORD="$2" psql -v ON_ERROR_STOP=1 -v role="$1" -U "$POSTGRES_USER" -d postgres <<SQL
\\getenv password ROLE_PASSWORD
CREATE ROLE :"role" LOGIN $3 PASSWORD :'password';
CREATE DATABASE :"role" OWNER :"role";
REVOKE CONNECT, TEMPORARY ON DATABASE :"role" FROM PUBLIC;
SQL
}
: "${POSTGRES_USER:=postgres}"
make_role carrara "$CARRARA_ROLE_PASSWORD" CREATEROLE
make_role mlflow "$MLFLOW_ROLE_PASSWORD" ""
