-- The grants of bearer-proxy: one row a grant. All times are the database's own.
CREATE TABLE IF NOT EXISTS bearer_proxy_grant (
    name        text PRIMARY KEY,                  -- store.name
    document    text,                              -- the grant: JSON, its content encrypted if there are store.keys
    revision    bigint NOT NULL DEFAULT 0,         -- grows with each write of the document
    changed_at  timestamptz,                       -- when the document was last written
    damaged     text[] NOT NULL DEFAULT '{}',      -- documents that could not be read and that a person has replaced
    fence       bigint NOT NULL DEFAULT 0,         -- the number of the last lease
    lease_owner text,
    lease_until timestamptz,                       -- null: nobody has the lease
    attempt     text                               -- the last transaction that changed the row
);
-- The role that the proxy connects as needs no more than this:
-- GRANT SELECT, INSERT, UPDATE ON bearer_proxy_grant TO role;
