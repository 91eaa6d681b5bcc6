-- The outbox: events that are emitted inside the transactions of applications.
--
--   application: switchboard_emit(…) ── outbox, without a position
--   its COMMIT:  locks the partitions, gives the position ── NOTIFY, if a consumer sleeps
--   consumer:    outbox_step ── sends ── outbox_step, which marks and deletes
--
-- Order. A transaction takes the locks of its partitions while it commits and holds them until others
-- can see it. The position comes from a sequence under these locks. So in a partition the positions
-- have the order of the commits, and whoever sees one sees all smaller ones.
--
-- Nobody waits in a circle. No call of `switchboard_emit` takes a lock. A transaction takes all its locks
-- at one place, the last deferred trigger of its commit: partitions in the order of their numbers, then
-- keys in theirs.

-- One row.
CREATE TABLE switchboard.outbox_setting (
    is_the_only_row bool PRIMARY KEY DEFAULT true CHECK (is_the_only_row),
    partitions int NOT NULL
);
INSERT INTO switchboard.outbox_setting (partitions) VALUES (8);

CREATE SEQUENCE switchboard.outbox_position;
CREATE SEQUENCE switchboard.outbox_number;

CREATE TABLE switchboard.outbox (
    id bigint NOT NULL DEFAULT nextval('switchboard.outbox_number'),
    tx xid8 NOT NULL DEFAULT pg_current_xact_id(),
    partition int NOT NULL,
    -- NULL until the commit. The events of one commit have the same; their ids have their order.
    position bigint,
    target jsonb NOT NULL,
    event text NOT NULL,
    args jsonb NOT NULL,
    -- For the inbox: how long, in milliseconds; 0 is as long as the inbox keeps messages.
    kept bigint,
    -- The hash of the key.
    key bytea,
    size int NOT NULL,
    created timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
-- What a transaction has not committed yet, by its keys.
CREATE INDEX ON switchboard.outbox (tx, key) WHERE position IS NULL;
CREATE INDEX ON switchboard.outbox (partition, position, id) WHERE position IS NOT NULL;

-- A row for a transaction that emits, as long as it lasts: the deferred triggers hang on it.
CREATE TABLE switchboard.outbox_commit (
    tx xid8 PRIMARY KEY,
    is_last bool NOT NULL DEFAULT false
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

-- Keys that were committed, and the ids of their events.
CREATE TABLE switchboard.outbox_key (
    key bytea PRIMARY KEY,
    id bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX ON switchboard.outbox_key (at);

-- Which run of a node consumes a partition, until when, and how far it is.
CREATE TABLE switchboard.outbox_partition (
    partition int PRIMARY KEY,
    run text,
    until timestamptz,
    position bigint NOT NULL DEFAULT 0,
    id bigint NOT NULL DEFAULT 0,
    -- The consumer waits for a notification.
    is_asleep bool NOT NULL DEFAULT false
) WITH (fillfactor = 20);
CREATE TABLE switchboard.outbox_run (
    run text PRIMARY KEY,
    until timestamptz NOT NULL
) WITH (fillfactor = 50);

-- Events that cannot be sent, and why. For operators; after 30 days they are removed.
CREATE TABLE switchboard.outbox_dead (
    id bigint PRIMARY KEY,
    partition int NOT NULL,
    position bigint NOT NULL,
    target jsonb NOT NULL,
    event text NOT NULL,
    args jsonb NOT NULL,
    created timestamptz NOT NULL,
    reason text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX ON switchboard.outbox_dead (at);

-- The key of a partition's lock, beside its number.
CREATE FUNCTION switchboard.outbox_lock() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1398230072';

CREATE FUNCTION switchboard.outbox_refuse(p_why text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'switchboard_emit: %', p_why USING ERRCODE = 'invalid_parameter_value';
END $$;

-- A lifetime as text in milliseconds; NULL if it is none.
CREATE FUNCTION switchboard.outbox_millis(p_text text) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT millis FROM (
        SELECT part[1]::numeric * CASE part[2]
            WHEN 'ms' THEN 1 WHEN 's' THEN 1000 WHEN 'm' THEN 60000 WHEN 'h' THEN 3600000
            ELSE 86400000 END AS millis
        FROM regexp_match(p_text, '^([0-9]{1,15})(ms|s|m|h|d)$') AS part
    ) AS read WHERE millis BETWEEN 1 AND 3162240000000
$$;

CREATE FUNCTION public.switchboard_emit(
    target jsonb, event text, args jsonb DEFAULT '[]', key text DEFAULT NULL
) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_target jsonb := switchboard_emit.target;
    v_event text := switchboard_emit.event;
    v_args jsonb := switchboard_emit.args;
    v_name text;
    v_kind text;
    v_kept bigint;
    v_key bytea;
    v_id bigint;
    v_size int;
BEGIN
    IF jsonb_typeof(v_target) IS DISTINCT FROM 'object' THEN
        PERFORM switchboard.outbox_refuse('target: must be an object');
    END IF;
    FOR v_name IN SELECT jsonb_object_keys(v_target) LOOP
        v_kind := jsonb_typeof(v_target -> v_name);
        CASE
            WHEN v_name IN ('users', 'rooms', 'sockets', 'except_users', 'except_rooms') THEN
                IF v_kind <> 'array' OR EXISTS (
                    SELECT FROM jsonb_array_elements(v_target -> v_name) AS e (name)
                    WHERE jsonb_typeof(e.name) <> 'string' OR e.name = '""'
                ) THEN
                    PERFORM switchboard.outbox_refuse(
                        format('target: %s: must be a list of names that are not empty', v_name));
                END IF;
            WHEN v_name IN ('all', 'authenticated', 'volatile') THEN
                IF v_kind <> 'boolean' THEN
                    PERFORM switchboard.outbox_refuse(
                        format('target: %s: must be true or false', v_name));
                END IF;
            WHEN v_name = 'namespace' THEN
                IF v_kind <> 'string' OR v_target ->> 'namespace' NOT LIKE '/%' THEN
                    PERFORM switchboard.outbox_refuse('target: namespace: must start with a slash');
                END IF;
            WHEN v_name = 'kept' THEN
                v_kept := CASE
                    WHEN v_target -> 'kept' = 'true' THEN 0
                    WHEN v_kind = 'string' THEN switchboard.outbox_millis(v_target ->> 'kept')
                END;
                IF v_kept IS NULL AND v_target -> 'kept' <> 'false' THEN
                    PERFORM switchboard.outbox_refuse(
                        'target: kept: must be true, false or a duration such as "2h" or "30d"');
                END IF;
            ELSE
                PERFORM switchboard.outbox_refuse(
                    format('target: unknown key %s', to_json(left(v_name, 64))));
        END CASE;
    END LOOP;
    IF coalesce(v_target -> 'all', 'false') = 'false'
        AND coalesce(v_target -> 'authenticated', 'false') = 'false'
        AND coalesce(v_target -> 'users', '[]') = '[]'
        AND coalesce(v_target -> 'rooms', '[]') = '[]'
        AND coalesce(v_target -> 'sockets', '[]') = '[]'
    THEN
        PERFORM switchboard.outbox_refuse(
            'target: one is needed: users, rooms, sockets, authenticated or all');
    END IF;
    IF v_kept IS NOT NULL THEN
        IF coalesce(v_target -> 'users', '[]') = '[]' THEN
            PERFORM switchboard.outbox_refuse('target: kept: needs users');
        END IF;
        IF v_target -> 'volatile' = 'true' THEN
            PERFORM switchboard.outbox_refuse('target: kept: what is kept is not volatile');
        END IF;
        IF v_target ? 'except_rooms' THEN
            PERFORM switchboard.outbox_refuse('target: kept: does not know except_rooms');
        END IF;
    END IF;
    IF coalesce(v_event, '') = '' THEN
        PERFORM switchboard.outbox_refuse('event: must not be empty');
    END IF;
    IF v_event IN ('connect', 'connect_error', 'disconnect', 'disconnecting', 'newListener',
        'removeListener')
    THEN
        PERFORM switchboard.outbox_refuse(format('event: %s is reserved by Socket.IO', v_event));
    END IF;
    IF jsonb_typeof(v_args) IS DISTINCT FROM 'array' THEN
        PERFORM switchboard.outbox_refuse('args: must be an array');
    END IF;
    v_size := octet_length(v_target::text) + octet_length(v_event) + octet_length(v_args::text);
    IF v_size > 1048576 THEN
        PERFORM switchboard.outbox_refuse(
            format('target, event and args: must have at most 1 MiB, and have %s bytes', v_size));
    END IF;
    IF switchboard_emit.key = '' THEN
        PERFORM switchboard.outbox_refuse('key: must not be empty');
    END IF;

    IF switchboard_emit.key IS NOT NULL THEN
        v_key := sha256(convert_to(switchboard_emit.key, 'UTF8'));
        SELECT k.id INTO v_id FROM switchboard.outbox_key k WHERE k.key = v_key;
        IF NOT FOUND THEN
            SELECT o.id INTO v_id FROM switchboard.outbox o
            WHERE o.tx = pg_current_xact_id() AND o.position IS NULL AND o.key = v_key;
        END IF;
        IF v_id IS NOT NULL THEN
            RETURN v_id;
        END IF;
    END IF;

    -- The same target, however it is written, is in the same partition. What is left out of it makes no
    -- difference.
    INSERT INTO switchboard.outbox (partition, target, event, args, kept, key, size)
    SELECT (hashtextextended(jsonb_build_array(
            coalesce(v_target -> 'namespace', '"/"'),
            coalesce(v_target -> 'all', 'false'),
            coalesce(v_target -> 'authenticated', 'false'),
            (SELECT jsonb_agg(DISTINCT e) FROM jsonb_array_elements(v_target -> 'users') e),
            (SELECT jsonb_agg(DISTINCT e) FROM jsonb_array_elements(v_target -> 'rooms') e),
            (SELECT jsonb_agg(DISTINCT e) FROM jsonb_array_elements(v_target -> 'sockets') e)
        )::text, 0) & 9223372036854775807) % s.partitions,
        v_target - 'kept', v_event, v_args, v_kept, v_key, v_size
    FROM switchboard.outbox_setting s
    RETURNING id INTO v_id;
    INSERT INTO switchboard.outbox_commit (tx) VALUES (pg_current_xact_id()) ON CONFLICT DO NOTHING;
    RETURN v_id;
END $$;

-- The first deferred trigger only makes a second one, which comes behind all triggers of the application.
-- Those may wait for rows, and nobody may wait for rows while holding a partition.
CREATE FUNCTION switchboard.outbox_at_commit() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE switchboard.outbox_commit SET is_last = true WHERE tx = NEW.tx;
    RETURN NULL;
END $$;

CREATE FUNCTION switchboard.outbox_at_last() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_partition int;
    v_partitions int[] := '{}';
    v_position bigint;
    v_keyed record;
    v_sees_others bool := current_setting('transaction_isolation') = 'read committed';
    v_asleep text;
BEGIN
    FOR v_partition IN
        SELECT DISTINCT o.partition FROM switchboard.outbox o
        WHERE o.tx = NEW.tx AND o.position IS NULL ORDER BY 1
    LOOP
        PERFORM pg_advisory_xact_lock(switchboard.outbox_lock(), v_partition);
        v_partitions := v_partitions || v_partition;
    END LOOP;
    -- Another transaction may have committed the same key. If it is about to, it is waited for.
    FOR v_keyed IN
        SELECT o.key, o.id FROM switchboard.outbox o
        WHERE o.tx = NEW.tx AND o.position IS NULL AND o.key IS NOT NULL ORDER BY o.key
    LOOP
        IF v_sees_others THEN
            INSERT INTO switchboard.outbox_key (key, id) VALUES (v_keyed.key, v_keyed.id)
            ON CONFLICT DO NOTHING;
            CONTINUE WHEN FOUND;
        ELSE
            BEGIN
                INSERT INTO switchboard.outbox_key (key, id) VALUES (v_keyed.key, v_keyed.id);
                CONTINUE;
            EXCEPTION WHEN unique_violation THEN
                NULL;
            END;
        END IF;
        DELETE FROM switchboard.outbox o
        WHERE o.tx = NEW.tx AND o.position IS NULL AND o.key = v_keyed.key;
    END LOOP;
    v_position := nextval('switchboard.outbox_position');
    UPDATE switchboard.outbox o SET position = v_position
    WHERE o.tx = NEW.tx AND o.position IS NULL;
    -- A NOTIFY makes commits wait for each other, so it is left out for whoever is awake.
    SELECT string_agg(p.partition::text, ',') INTO v_asleep FROM switchboard.outbox_partition p
    WHERE p.partition = ANY (v_partitions) AND (p.is_asleep OR NOT v_sees_others);
    IF v_asleep IS NOT NULL THEN
        PERFORM pg_notify('switchboard_outbox', v_asleep);
    END IF;
    DELETE FROM switchboard.outbox_commit WHERE tx = NEW.tx;
    RETURN NULL;
END $$;

CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON switchboard.outbox_commit
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION switchboard.outbox_at_commit();
CREATE CONSTRAINT TRIGGER at_last AFTER UPDATE ON switchboard.outbox_commit
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION switchboard.outbox_at_last();

-- Whoever may call it is granted to.
REVOKE ALL ON FUNCTION public.switchboard_emit(jsonb, text, jsonb, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION switchboard.outbox_at_commit() FROM PUBLIC;
REVOKE ALL ON FUNCTION switchboard.outbox_at_last() FROM PUBLIC;

-- How many partitions there are from now on. Those that there were are consumed on.
CREATE FUNCTION switchboard.outbox_configure(p_partitions int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO switchboard.outbox_partition (partition) SELECT generate_series(0, p_partitions - 1)
    ON CONFLICT DO NOTHING;
    UPDATE switchboard.outbox_setting SET partitions = p_partitions
    WHERE partitions <> p_partitions;
END $$;

-- A run renews its leases, takes partitions that are free and gives those back that are more than its
-- share. Returns those that it has. A lease that ends later than one can was given before the clock was
-- put back, and is over.
CREATE FUNCTION switchboard.outbox_claim(p_run text, p_lease bigint)
RETURNS SETOF int LANGUAGE plpgsql AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_until timestamptz := v_now + p_lease * interval '1 ms';
    v_latest timestamptz := v_now + 2 * p_lease * interval '1 ms';
    v_share bigint;
    v_mine bigint;
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    INSERT INTO switchboard.outbox_run AS r (run, until) VALUES (p_run, v_until)
    ON CONFLICT (run) DO UPDATE SET until = excluded.until;
    DELETE FROM switchboard.outbox_run WHERE run = ANY (ARRAY (
        SELECT run FROM switchboard.outbox_run WHERE until NOT BETWEEN v_now AND v_latest
        FOR UPDATE SKIP LOCKED
    ));
    SELECT ceil((SELECT count(*) FROM switchboard.outbox_partition)::numeric / count(*)) INTO v_share
    FROM switchboard.outbox_run WHERE until BETWEEN v_now AND v_latest;
    UPDATE switchboard.outbox_partition SET until = v_until WHERE run = p_run AND until > v_now;
    GET DIAGNOSTICS v_mine = ROW_COUNT;
    IF v_mine > v_share THEN
        UPDATE switchboard.outbox_partition SET run = NULL, until = NULL, is_asleep = false
        WHERE partition = ANY (ARRAY (
            SELECT partition FROM switchboard.outbox_partition WHERE run = p_run AND until = v_until
            ORDER BY partition DESC LIMIT v_mine - v_share
        ));
    ELSIF v_mine < v_share THEN
        UPDATE switchboard.outbox_partition SET run = p_run, until = v_until, is_asleep = false
        WHERE partition = ANY (ARRAY (
            SELECT partition FROM switchboard.outbox_partition
            WHERE run IS NULL OR until NOT BETWEEN v_now AND v_latest
            ORDER BY partition LIMIT v_share - v_mine FOR UPDATE SKIP LOCKED
        ));
    END IF;
    RETURN QUERY SELECT partition FROM switchboard.outbox_partition
    WHERE run = p_run AND until > v_now ORDER BY 1;
END $$;

-- A run gives everything back.
CREATE FUNCTION switchboard.outbox_retire(p_run text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE switchboard.outbox_partition SET run = NULL, until = NULL, is_asleep = false
    WHERE run = p_run;
    DELETE FROM switchboard.outbox_run WHERE run = p_run;
END $$;

-- Marks what a run has sent, up to an event in each of these partitions, and reads what comes next in
-- its partitions: at most so many rows and bytes, but at least one row unless none is asked for. Of each
-- partition as many, so that one with very much does not hold up the others. What another run has by now
-- is left alone.
CREATE FUNCTION switchboard.outbox_step(
    p_run text, p_partitions int[], p_positions bigint[], p_ids bigint[], p_rows bigint,
    p_bytes bigint
) RETURNS TABLE (partition int, "position" bigint, id bigint, target text, event text, args text,
    kept bigint) LANGUAGE plpgsql
-- The statistics may be of an empty table. Then all that waits would be sorted for each batch.
SET enable_bitmapscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    v_old record;
BEGIN
    -- What is lost in a crash of the database is sent once more.
    PERFORM set_config('synchronous_commit', 'off', true);
    FOR i IN 1 .. cardinality(p_partitions) LOOP
        SELECT p.position, p.id INTO v_old FROM switchboard.outbox_partition p
        WHERE p.partition = p_partitions[i] AND p.run = p_run AND p.until > clock_timestamp()
        FOR UPDATE;
        CONTINUE WHEN NOT FOUND OR (p_positions[i], p_ids[i]) <= (v_old.position, v_old.id);
        UPDATE switchboard.outbox_partition p
        SET position = p_positions[i], id = p_ids[i], is_asleep = false
        WHERE p.partition = p_partitions[i];
        DELETE FROM switchboard.outbox o
        WHERE o.partition = p_partitions[i] AND (o.position, o.id) > (v_old.position, v_old.id)
            AND (o.position, o.id) <= (p_positions[i], p_ids[i]) AND o.position IS NOT NULL;
    END LOOP;
    RETURN QUERY
    SELECT n.partition, n.position, n.id, n.target::text, n.event, n.args::text, n.kept
    FROM (
        SELECT m.*, sum(m.size) OVER (ORDER BY m.rank, m.position, m.id) AS bytes,
            row_number() OVER (ORDER BY m.rank, m.position, m.id) AS place
        FROM (
            SELECT o.* FROM switchboard.outbox_partition p
            CROSS JOIN LATERAL (
                SELECT *, row_number() OVER (ORDER BY o.position, o.id) AS rank
                FROM switchboard.outbox o
                WHERE o.partition = p.partition AND (o.position, o.id) > (p.position, p.id)
                    AND o.position IS NOT NULL
                ORDER BY o.position, o.id LIMIT p_rows
            ) o
            WHERE p.run = p_run AND p.until > clock_timestamp()
            ORDER BY o.rank, o.position, o.id LIMIT p_rows
        ) m
    ) n
    WHERE n.place = 1 OR n.bytes <= p_bytes
    ORDER BY n.place;
END $$;

-- A run is about to sleep until it is notified. Whoever commits after this sees it. A partition in which
-- somebody commits just now stays awake. Returns whether all sleep.
CREATE FUNCTION switchboard.outbox_sleep(p_run text) RETURNS bool LANGUAGE plpgsql AS $$
DECLARE
    v_partition int;
    v_all bool := true;
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    FOR v_partition IN
        SELECT p.partition FROM switchboard.outbox_partition p
        WHERE p.run = p_run AND NOT p.is_asleep ORDER BY 1
    LOOP
        IF pg_try_advisory_xact_lock(switchboard.outbox_lock(), v_partition) THEN
            UPDATE switchboard.outbox_partition SET is_asleep = true
            WHERE partition = v_partition AND run = p_run;
        ELSE
            v_all := false;
        END IF;
    END LOOP;
    RETURN v_all;
END $$;

-- Puts an event aside that cannot be sent, once. It leaves the outbox when it is marked.
CREATE FUNCTION switchboard.outbox_set_aside(
    p_partition int, p_position bigint, p_id bigint, p_reason text
) RETURNS void LANGUAGE sql AS $$
    INSERT INTO switchboard.outbox_dead
        (id, partition, position, target, event, args, created, reason)
    SELECT o.id, o.partition, o.position, o.target, o.event, o.args, o.created, p_reason
    FROM switchboard.outbox o
    WHERE o.partition = p_partition AND o.position = p_position AND o.id = p_id
    ON CONFLICT DO NOTHING
$$;

-- Forgets some keys that are older than so many milliseconds, and what was set aside long ago. Returns
-- whether there are more.
CREATE FUNCTION switchboard.outbox_sweep(p_key_ttl bigint, p_rows bigint)
RETURNS bool LANGUAGE plpgsql AS $$
DECLARE
    v_keys bigint;
    v_dead bigint;
BEGIN
    DELETE FROM switchboard.outbox_key k WHERE k.key = ANY (ARRAY (
        SELECT key FROM switchboard.outbox_key
        WHERE at <= clock_timestamp() - p_key_ttl * interval '1 ms'
        ORDER BY at LIMIT p_rows FOR UPDATE SKIP LOCKED
    ));
    GET DIAGNOSTICS v_keys = ROW_COUNT;
    DELETE FROM switchboard.outbox_dead d WHERE d.id = ANY (ARRAY (
        SELECT id FROM switchboard.outbox_dead WHERE at <= clock_timestamp() - interval '30 days'
        ORDER BY at LIMIT p_rows FOR UPDATE SKIP LOCKED
    ));
    GET DIAGNOSTICS v_dead = ROW_COUNT;
    RETURN greatest(v_keys, v_dead) >= p_rows;
END $$;

-- How many events wait, how old the oldest is in seconds, and how many are set aside.
CREATE FUNCTION switchboard.outbox_depth(OUT waiting bigint, OUT oldest float8, OUT dead bigint)
LANGUAGE sql AS $$
    SELECT count(*), extract(epoch FROM clock_timestamp() - min(created))::float8,
        (SELECT count(*) FROM switchboard.outbox_dead)
    FROM switchboard.outbox WHERE position IS NOT NULL
$$;
