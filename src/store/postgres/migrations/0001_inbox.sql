-- Messages for users, until each of their devices has acknowledged them.
--
-- Texts that name something may be longer than what an index takes. A long one is then named by its
-- hash, and stands in full beside it, in a column `…_full` that is otherwise NULL.
--
-- Whoever changes something of users locks their rows in `inbox_user` first, in the order of their
-- names, so that nobody waits in a circle. Only the sweep does without, and passes over what is locked.

CREATE TABLE switchboard.inbox_user (
    user_id text COLLATE "C" PRIMARY KEY,
    user_full text,
    -- The number of the last message. It stays for ever.
    last bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 70);

CREATE TABLE switchboard.inbox_id (
    user_id text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    expires timestamptz NOT NULL,
    PRIMARY KEY (user_id, id)
);
CREATE INDEX ON switchboard.inbox_id (expires);

CREATE TABLE switchboard.inbox_message (
    user_id text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    id text NOT NULL,
    namespace text COLLATE "C" NOT NULL,
    namespace_full text,
    event text NOT NULL,
    args bytea NOT NULL,
    size bigint NOT NULL,
    collapse text COLLATE "C",
    created timestamptz NOT NULL,
    expires timestamptz NOT NULL,
    PRIMARY KEY (user_id, seq)
);
CREATE INDEX ON switchboard.inbox_message (expires);
CREATE UNIQUE INDEX ON switchboard.inbox_message (user_id, namespace, collapse)
    WHERE collapse IS NOT NULL;

CREATE TABLE switchboard.inbox_device (
    user_id text COLLATE "C" NOT NULL,
    device text COLLATE "C" NOT NULL,
    device_full text,
    -- Gets what is kept after this number.
    base bigint NOT NULL,
    seen timestamptz NOT NULL,
    PRIMARY KEY (user_id, device)
);
CREATE INDEX ON switchboard.inbox_device (seen);

CREATE TABLE switchboard.inbox_stream (
    user_id text COLLATE "C" NOT NULL,
    device text COLLATE "C" NOT NULL,
    namespace text COLLATE "C" NOT NULL,
    namespace_full text,
    acked bigint NOT NULL,
    run text COLLATE "C",
    PRIMARY KEY (user_id, device, namespace)
) WITH (fillfactor = 80);
CREATE INDEX ON switchboard.inbox_stream (run) WHERE run IS NOT NULL;

CREATE TABLE switchboard.inbox_waiting (
    user_id text COLLATE "C" NOT NULL,
    device text COLLATE "C" NOT NULL,
    namespace text COLLATE "C" NOT NULL,
    run text COLLATE "C" NOT NULL,
    PRIMARY KEY (user_id, device, namespace, run)
);
CREATE INDEX ON switchboard.inbox_waiting (run);

CREATE TABLE switchboard.inbox_holder (
    run text COLLATE "C" PRIMARY KEY,
    node text NOT NULL,
    until timestamptz NOT NULL
) WITH (fillfactor = 50);

-- Locks the rows of users, and makes those that are missing.
CREATE FUNCTION switchboard.inbox_lock(p_users text[], p_fulls text[])
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO switchboard.inbox_user (user_id, user_full)
    SELECT DISTINCT ON (u.id COLLATE "C") u.id, u.full_name
    FROM unnest(p_users, p_fulls) AS u (id, full_name)
    WHERE NOT EXISTS (SELECT FROM switchboard.inbox_user known WHERE known.user_id = u.id)
    ORDER BY u.id COLLATE "C"
    ON CONFLICT DO NOTHING;
    PERFORM FROM switchboard.inbox_user WHERE user_id = ANY (p_users) ORDER BY user_id FOR UPDATE;
END $$;

-- Removes what all known devices of a user have acknowledged in a namespace.
CREATE FUNCTION switchboard.inbox_remove_done(p_user text, p_namespace text)
RETURNS void LANGUAGE sql AS $$
    DELETE FROM switchboard.inbox_message
    WHERE user_id = p_user AND namespace = p_namespace AND seq <= (
        SELECT min(coalesce(s.acked, d.base))
        FROM switchboard.inbox_device d
        LEFT JOIN switchboard.inbox_stream s
            ON s.user_id = d.user_id AND s.device = d.device AND s.namespace = p_namespace
        WHERE d.user_id = p_user
    )
$$;

-- Forgets a device, and what only it had not acknowledged.
CREATE FUNCTION switchboard.inbox_forget(p_user text, p_device text)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM switchboard.inbox_stream WHERE user_id = p_user AND device = p_device;
    DELETE FROM switchboard.inbox_waiting WHERE user_id = p_user AND device = p_device;
    DELETE FROM switchboard.inbox_device WHERE user_id = p_user AND device = p_device;
    PERFORM switchboard.inbox_remove_done(p_user, n.namespace)
    FROM (SELECT DISTINCT namespace FROM switchboard.inbox_message WHERE user_id = p_user) n;
END $$;

-- Keeps messages. A row for each, in their order: what became of it, its number, and the nodes that
-- hold a stream of its user. Without a limit the parameter is 0.
CREATE FUNCTION switchboard.inbox_keep(
    p_users text[], p_user_fulls text[], p_ids text[], p_id_keys text[],
    p_namespaces text[], p_namespace_fulls text[], p_events text[], p_args bytea[],
    p_sizes bigint[], p_ttls bigint[], p_collapses text[],
    p_id_ttl bigint, p_max_messages bigint, p_max_bytes bigint
) RETURNS TABLE (outcome text, number bigint, holders text[]) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz;
    v_old_seq bigint;
    v_old_size bigint;
    v_count bigint;
    v_bytes bigint;
    v_then bigint;
BEGIN
    PERFORM switchboard.inbox_lock(p_users, p_user_fulls);
    v_now := clock_timestamp();
    FOR i IN 1 .. cardinality(p_users) LOOP
        holders := NULL;
        SELECT k.seq INTO number FROM switchboard.inbox_id k
        WHERE k.user_id = p_users[i] AND k.id = p_id_keys[i] AND k.expires > v_now;
        IF FOUND THEN
            outcome := 'known';
            RETURN NEXT;
            CONTINUE;
        END IF;

        v_old_seq := NULL;
        v_old_size := NULL;
        IF p_collapses[i] IS NOT NULL THEN
            -- One that has expired gives up its key.
            UPDATE switchboard.inbox_message m SET collapse = NULL
            WHERE m.user_id = p_users[i] AND m.namespace = p_namespaces[i]
                AND m.collapse = p_collapses[i] AND m.expires <= v_now;
            SELECT m.seq, m.size INTO v_old_seq, v_old_size
            FROM switchboard.inbox_message m
            WHERE m.user_id = p_users[i] AND m.namespace = p_namespaces[i]
                AND m.collapse = p_collapses[i];
        END IF;

        IF p_max_messages > 0 OR p_max_bytes > 0 THEN
            SELECT count(*), coalesce(sum(m.size), 0) INTO v_count, v_bytes
            FROM switchboard.inbox_message m WHERE m.user_id = p_users[i] AND m.expires > v_now;
            v_then := v_bytes - coalesce(v_old_size, 0) + p_sizes[i];
            IF (v_old_seq IS NULL AND p_max_messages > 0 AND v_count >= p_max_messages)
                OR (p_max_bytes > 0 AND v_then > greatest(p_max_bytes, v_bytes))
            THEN
                outcome := 'full';
                number := 0;
                RETURN NEXT;
                CONTINUE;
            END IF;
        END IF;

        IF v_old_seq IS NOT NULL THEN
            DELETE FROM switchboard.inbox_message m
            WHERE m.user_id = p_users[i] AND m.seq = v_old_seq;
        END IF;
        UPDATE switchboard.inbox_user u SET last = u.last + 1 WHERE u.user_id = p_users[i]
        RETURNING u.last INTO number;
        INSERT INTO switchboard.inbox_id AS k (user_id, id, seq, expires)
        VALUES (p_users[i], p_id_keys[i], number, v_now + p_id_ttl * interval '1 ms')
        ON CONFLICT (user_id, id) DO UPDATE SET seq = excluded.seq, expires = excluded.expires;
        INSERT INTO switchboard.inbox_message
            (user_id, seq, id, namespace, namespace_full, event, args, size, collapse, created,
             expires)
        VALUES (p_users[i], number, p_ids[i], p_namespaces[i], p_namespace_fulls[i], p_events[i],
            p_args[i], p_sizes[i], p_collapses[i], v_now, v_now + p_ttls[i] * interval '1 ms');
        SELECT array_agg(DISTINCT h.node) INTO holders
        FROM switchboard.inbox_stream s JOIN switchboard.inbox_holder h ON h.run = s.run
        WHERE s.user_id = p_users[i] AND h.until > v_now;
        outcome := 'new';
        RETURN NEXT;
    END LOOP;
END $$;

-- A run wants to deliver a stream: `held` with where it begins and the user's last number, `waits`, or
-- `too many` devices.
CREATE FUNCTION switchboard.inbox_attach(
    p_user text, p_user_full text, p_device text, p_device_full text,
    p_namespace text, p_namespace_full text, p_run text, p_max_devices int,
    OUT outcome text, OUT after bigint, OUT last bigint
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz;
    v_devices bigint;
    v_base bigint;
    v_away text;
    v_other bool;
BEGIN
    PERFORM switchboard.inbox_lock(ARRAY[p_user], ARRAY[p_user_full]);
    v_now := clock_timestamp();
    SELECT u.last INTO last FROM switchboard.inbox_user u WHERE u.user_id = p_user;

    UPDATE switchboard.inbox_device d SET seen = v_now
    WHERE d.user_id = p_user AND d.device = p_device RETURNING d.base INTO v_base;
    IF NOT FOUND THEN
        SELECT count(*) INTO v_devices FROM switchboard.inbox_device d WHERE d.user_id = p_user;
        IF v_devices >= p_max_devices THEN
            SELECT d.device INTO v_away FROM switchboard.inbox_device d
            WHERE d.user_id = p_user AND NOT EXISTS (
                SELECT FROM switchboard.inbox_stream s
                JOIN switchboard.inbox_holder h ON h.run = s.run
                WHERE s.user_id = d.user_id AND s.device = d.device AND h.until > v_now
            ) ORDER BY d.seen LIMIT 1;
            IF NOT FOUND THEN
                outcome := 'too many';
                RETURN;
            END IF;
            PERFORM switchboard.inbox_forget(p_user, v_away);
        END IF;
        -- The very first device gets everything.
        v_base := CASE WHEN v_devices = 0 THEN 0 ELSE last END;
        INSERT INTO switchboard.inbox_device (user_id, device, device_full, base, seen)
        VALUES (p_user, p_device, p_device_full, v_base, v_now);
    END IF;

    INSERT INTO switchboard.inbox_stream (user_id, device, namespace, namespace_full, acked)
    VALUES (p_user, p_device, p_namespace, p_namespace_full, v_base) ON CONFLICT DO NOTHING;
    SELECT s.acked, EXISTS (
        SELECT FROM switchboard.inbox_holder h
        WHERE h.run = s.run AND h.run <> p_run AND h.until > v_now
    ) INTO after, v_other FROM switchboard.inbox_stream s
    WHERE s.user_id = p_user AND s.device = p_device AND s.namespace = p_namespace;
    IF v_other THEN
        INSERT INTO switchboard.inbox_waiting (user_id, device, namespace, run)
        VALUES (p_user, p_device, p_namespace, p_run) ON CONFLICT DO NOTHING;
        outcome := 'waits';
        RETURN;
    END IF;
    UPDATE switchboard.inbox_stream s SET run = p_run
    WHERE s.user_id = p_user AND s.device = p_device AND s.namespace = p_namespace
        AND s.run IS DISTINCT FROM p_run;
    DELETE FROM switchboard.inbox_waiting w
    WHERE w.user_id = p_user AND w.device = p_device AND w.namespace = p_namespace
        AND w.run = p_run;
    outcome := 'held';
END $$;

-- A run delivers these streams no longer. The nodes that wait for what it held, each with the place of
-- that stream in the list.
CREATE FUNCTION switchboard.inbox_detach(
    p_users text[], p_devices text[], p_namespaces text[], p_run text
) RETURNS TABLE (node text, place bigint) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    PERFORM FROM switchboard.inbox_user WHERE user_id = ANY (p_users) ORDER BY user_id FOR UPDATE;
    DELETE FROM switchboard.inbox_waiting w
    USING unnest(p_users, p_devices, p_namespaces) AS t (user_id, device, namespace)
    WHERE w.user_id = t.user_id AND w.device = t.device AND w.namespace = t.namespace
        AND w.run = p_run;
    RETURN QUERY
    WITH released AS (
        UPDATE switchboard.inbox_stream s SET run = NULL
        FROM unnest(p_users, p_devices, p_namespaces) WITH ORDINALITY
            AS t (user_id, device, namespace, place)
        WHERE s.user_id = t.user_id AND s.device = t.device AND s.namespace = t.namespace
            AND s.run = p_run
        RETURNING s.user_id, s.device, s.namespace, t.place
    ), left_at AS (
        UPDATE switchboard.inbox_device d SET seen = clock_timestamp()
        FROM (SELECT DISTINCT user_id, device FROM released) r
        WHERE d.user_id = r.user_id AND d.device = r.device
    )
    SELECT DISTINCT h.node, r.place
    FROM released r
    JOIN switchboard.inbox_waiting w
        ON w.user_id = r.user_id AND w.device = r.device AND w.namespace = r.namespace
    JOIN switchboard.inbox_holder h ON h.run = w.run
    WHERE h.until > clock_timestamp();
END $$;

-- What a run holds.
CREATE FUNCTION switchboard.inbox_held(p_run text)
RETURNS TABLE (user_id text, device text, namespace text, user_full text, device_full text,
    namespace_full text) LANGUAGE sql STABLE AS $$
    SELECT s.user_id, s.device, s.namespace, u.user_full, d.device_full, s.namespace_full
    FROM switchboard.inbox_stream s
    JOIN switchboard.inbox_user u ON u.user_id = s.user_id
    LEFT JOIN switchboard.inbox_device d ON d.user_id = s.user_id AND d.device = s.device
    WHERE s.run = p_run
$$;

-- A run holds nothing any more, and waits for nothing.
CREATE FUNCTION switchboard.inbox_gone(p_run text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM switchboard.inbox_user u
    WHERE u.user_id IN (SELECT s.user_id FROM switchboard.inbox_stream s WHERE s.run = p_run)
    ORDER BY u.user_id FOR UPDATE;
    -- Until now its devices were there.
    UPDATE switchboard.inbox_device d SET seen = clock_timestamp()
    FROM (SELECT DISTINCT s.user_id, s.device FROM switchboard.inbox_stream s WHERE s.run = p_run) t
    WHERE d.user_id = t.user_id AND d.device = t.device;
    UPDATE switchboard.inbox_stream SET run = NULL WHERE run = p_run;
    DELETE FROM switchboard.inbox_waiting WHERE run = p_run;
    DELETE FROM switchboard.inbox_holder WHERE run = p_run;
END $$;

-- The same, if the run's lease has run out.
CREATE FUNCTION switchboard.inbox_bury(p_run text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM switchboard.inbox_holder h
    WHERE h.run = p_run AND h.until <= clock_timestamp() FOR UPDATE;
    IF FOUND THEN
        PERFORM switchboard.inbox_gone(p_run);
    END IF;
END $$;

-- `inbox_detach` for everything that a run holds, and the end of the run.
CREATE FUNCTION switchboard.inbox_retire(p_run text)
RETURNS TABLE (node text, user_id text, device text, namespace text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_users text[];
    v_devices text[];
    v_namespaces text[];
    v_full text[][];
BEGIN
    SELECT coalesce(array_agg(h.user_id), '{}'), coalesce(array_agg(h.device), '{}'),
        coalesce(array_agg(h.namespace), '{}'),
        array_agg(ARRAY[coalesce(h.user_full, h.user_id), coalesce(h.device_full, h.device),
            coalesce(h.namespace_full, h.namespace)])
    INTO v_users, v_devices, v_namespaces, v_full
    FROM switchboard.inbox_held(p_run) h;
    RETURN QUERY
    SELECT d.node, v_full[d.place::int][1], v_full[d.place::int][2], v_full[d.place::int][3]
    FROM switchboard.inbox_detach(v_users, v_devices, v_namespaces, p_run) d;
    PERFORM switchboard.inbox_gone(p_run);
END $$;

-- Devices have everything of their streams up to these numbers.
CREATE FUNCTION switchboard.inbox_acknowledge(
    p_users text[], p_devices text[], p_namespaces text[], p_seqs bigint[]
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM switchboard.inbox_user WHERE user_id = ANY (p_users) ORDER BY user_id FOR UPDATE;
    FOR i IN 1 .. cardinality(p_users) LOOP
        UPDATE switchboard.inbox_stream s SET acked = least(p_seqs[i], u.last)
        FROM switchboard.inbox_user u
        WHERE u.user_id = p_users[i] AND s.user_id = p_users[i] AND s.device = p_devices[i]
            AND s.namespace = p_namespaces[i] AND s.acked < least(p_seqs[i], u.last);
        IF FOUND THEN
            PERFORM switchboard.inbox_remove_done(p_users[i], p_namespaces[i]);
        END IF;
    END LOOP;
END $$;

-- Removes one message, or all. Returns how many there were.
CREATE FUNCTION switchboard.inbox_delete(p_user text, p_id text)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_removed bigint;
BEGIN
    PERFORM FROM switchboard.inbox_user WHERE user_id = p_user FOR UPDATE;
    WITH removed AS (
        DELETE FROM switchboard.inbox_message m
        WHERE m.user_id = p_user AND (p_id IS NULL OR m.id = p_id)
        RETURNING m.expires
    )
    -- What has expired was gone before.
    SELECT count(*) INTO v_removed FROM removed WHERE expires > clock_timestamp();
    RETURN v_removed;
END $$;

-- Removes some rows that nobody needs: how many messages and devices, and whether there are more.
CREATE FUNCTION switchboard.inbox_sweep(
    p_id_ttl bigint, p_rows bigint, OUT expired bigint, OUT devices bigint, OUT more bool
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := clock_timestamp();
    v_ids bigint;
    v_away record;
BEGIN
    DELETE FROM switchboard.inbox_message m WHERE (m.user_id, m.seq) IN (
        SELECT user_id, seq FROM switchboard.inbox_message
        WHERE expires <= v_now LIMIT p_rows FOR UPDATE SKIP LOCKED
    );
    GET DIAGNOSTICS expired = ROW_COUNT;
    DELETE FROM switchboard.inbox_id k WHERE (k.user_id, k.id) IN (
        SELECT user_id, id FROM switchboard.inbox_id
        WHERE expires <= v_now LIMIT p_rows FOR UPDATE SKIP LOCKED
    );
    GET DIAGNOSTICS v_ids = ROW_COUNT;
    devices := 0;
    FOR v_away IN
        SELECT d.user_id, d.device FROM switchboard.inbox_device d
        JOIN switchboard.inbox_user u ON u.user_id = d.user_id
        WHERE d.seen <= v_now - p_id_ttl * interval '1 ms' AND NOT EXISTS (
            SELECT FROM switchboard.inbox_stream s
            JOIN switchboard.inbox_holder h ON h.run = s.run
            WHERE s.user_id = d.user_id AND s.device = d.device
        )
        LIMIT p_rows FOR UPDATE OF u SKIP LOCKED
    LOOP
        -- It may have come before its user's row was locked.
        PERFORM FROM switchboard.inbox_device d
        WHERE d.user_id = v_away.user_id AND d.device = v_away.device
            AND d.seen <= v_now - p_id_ttl * interval '1 ms';
        IF FOUND THEN
            PERFORM switchboard.inbox_forget(v_away.user_id, v_away.device);
            devices := devices + 1;
        END IF;
    END LOOP;
    more := greatest(expired, v_ids, devices) >= p_rows;
END $$;
