-- The last events of rooms. Namespace and room are keys as those of the inbox: a long one is its hash.
--
-- Whoever writes holds a lock for each of the rooms until the commit, taken in one order by all. So the
-- order of the numbers is that of the commits, and nobody waits in a circle.

CREATE TABLE switchboard.history (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    namespace text COLLATE "C" NOT NULL,
    room text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    event text NOT NULL,
    args bytea NOT NULL,
    sender text,
    at timestamptz NOT NULL,
    expires timestamptz NOT NULL
);
CREATE UNIQUE INDEX ON switchboard.history (namespace, room, id);
CREATE INDEX ON switchboard.history (namespace, room, seq);
CREATE INDEX ON switchboard.history (expires);

CREATE FUNCTION switchboard.history_append(
    namespaces text[], rooms text[], ids text[], events text[], arguments bytea[], senders text[],
    counts bigint[], ttls bigint[]
) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    -- Tells these locks from those of others.
    history CONSTANT int := 1212765012;
    kept record;
BEGIN
    PERFORM pg_advisory_xact_lock(history, lock) FROM (
        SELECT DISTINCT hashtext(namespace || chr(1) || room) AS lock
        FROM unnest(namespaces, rooms) AS it(namespace, room) ORDER BY lock
    ) locks;
    INSERT INTO switchboard.history (namespace, room, id, event, args, sender, at, expires)
        SELECT namespace, room, id, event, args, sender, clock_timestamp(),
            clock_timestamp() + ttl * interval '1 ms'
        FROM unnest(namespaces, rooms, ids, events, arguments, senders, ttls) WITH ORDINALITY
            AS it(namespace, room, id, event, args, sender, ttl, place)
        ORDER BY place
        ON CONFLICT DO NOTHING;
    FOR kept IN
        SELECT DISTINCT ON (namespace, room) namespace, room, count
        FROM unnest(namespaces, rooms, counts) WITH ORDINALITY AS it(namespace, room, count, place)
        ORDER BY namespace, room, place DESC
    LOOP
        DELETE FROM switchboard.history h
        WHERE h.namespace = kept.namespace AND h.room = kept.room AND h.seq <= (
            SELECT o.seq FROM switchboard.history o
            WHERE o.namespace = kept.namespace AND o.room = kept.room
            ORDER BY o.seq DESC LIMIT 1 OFFSET kept.count
        );
    END LOOP;
END
$$;
