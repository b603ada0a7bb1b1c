/* Rows: an entry stands in two tables, `entries` (key → record) and `expiry` (expires, big-endian ‖ key → nothing),
 * whose order is the order in which room is made. */
#include "server/store/lmdb_internal.h"
#include "server/store/record.h"

static void expiry_key(uint8_t ret[LMDB_EXPIRY_BYTES], uint64_t expires_us, const uint8_t *key)
{
	for (int i = 0; i < 8; i++)
		ret[i] = (uint8_t)(expires_us >> (8 * (7 - i)));
	memcpy(ret + 8, key, ENTRY_KEY_BYTES);
}

static uint64_t expiry_us(const uint8_t *p)
{
	uint64_t value = 0;

	for (int i = 0; i < 8; i++)
		value = value << 8 | p[i];
	return value;
}

static MDB_val val_of(const void *p, size_t n) { return (MDB_val){.mv_data = (void *)p, .mv_size = n}; }

static int not_found_is_fine(int rc) { return rc == MDB_NOTFOUND ? 0 : rc; }

/* A record that is no record has an expiry row nobody knows; the sweep drops that one when its turn comes. */
int lmdb_row_delete(MDB_txn *txn, const struct lmdb_tables *tables, const uint8_t *key, bool *ret_existed)
{
	MDB_val k = val_of(key, ENTRY_KEY_BYTES), old;
	uint8_t expiry[LMDB_EXPIRY_BYTES];
	uint64_t expires_us;
	int rc = mdb_get(txn, tables->entries, &k, &old);

	*ret_existed = rc == 0;
	if (rc != 0)
		return not_found_is_fine(rc);
	if (record_expires_us(slice_of(old.mv_data, old.mv_size), &expires_us)) {
		MDB_val x = val_of(expiry, sizeof expiry);

		expiry_key(expiry, expires_us, key);
		rc = not_found_is_fine(mdb_del(txn, tables->expiry, &x, NULL));
		if (rc != 0)
			return rc;
	}
	return mdb_del(txn, tables->entries, &k, NULL);
}

int lmdb_row_put(MDB_txn *txn, const struct lmdb_tables *tables, const struct entry *e, struct slice record)
{
	MDB_val k = val_of(e->node.key, ENTRY_KEY_BYTES), v = val_of(record.p, record.n), nothing = val_of("", 0), x;
	uint8_t expiry[LMDB_EXPIRY_BYTES];
	bool existed;
	int rc = lmdb_row_delete(txn, tables, e->node.key, &existed);

	if (rc != 0)
		return rc;
	expiry_key(expiry, e->expires_us, e->node.key);
	x = val_of(expiry, sizeof expiry);
	rc = mdb_put(txn, tables->expiry, &x, &nothing, 0);
	return rc != 0 ? rc : mdb_put(txn, tables->entries, &k, &v, 0);
}

struct lmdb_usage lmdb_usage(MDB_txn *txn, const struct lmdb_tables *tables)
{
	const MDB_dbi all[] = {tables->entries, tables->expiry, tables->epochs, tables->meta};
	struct lmdb_usage usage = {0};
	MDB_stat stat;

	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		if (mdb_stat(txn, all[i], &stat) != 0)
			continue;
		usage.bytes += (stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages) * stat.ms_psize;
		if (all[i] == tables->entries)
			usage.entries = stat.ms_entries;
	}
	return usage;
}

/* The entry of an expiry row, unless it has been given another time since. */
static int sweep_entry(MDB_txn *txn, const struct lmdb_tables *tables, const uint8_t *row)
{
	MDB_val k = val_of(row + 8, ENTRY_KEY_BYTES), old;
	uint64_t expires_us;
	int rc = mdb_get(txn, tables->entries, &k, &old);

	if (rc != 0)
		return not_found_is_fine(rc);
	if (record_expires_us(slice_of(old.mv_data, old.mv_size), &expires_us) && expires_us != expiry_us(row))
		return 0;
	return mdb_del(txn, tables->entries, &k, NULL);
}

int lmdb_sweep(MDB_txn *txn, const struct lmdb_tables *tables, uint64_t expired_us, uint64_t bytes_max, size_t rows_max,
	       struct lmdb_swept *ret)
{
	struct lmdb_swept swept = {0};
	uint8_t row[LMDB_EXPIRY_BYTES];
	MDB_cursor *cursor;
	MDB_val x, v;
	int rc = mdb_cursor_open(txn, tables->expiry, &cursor);

	if (rc != 0)
		return rc;
	while ((rc = mdb_cursor_get(cursor, &x, &v, MDB_FIRST)) == 0) {
		if (x.mv_size != sizeof row) {
			rc = MDB_CORRUPTED;
			break;
		}
		memcpy(row, x.mv_data, sizeof row);
		swept.over = lmdb_usage(txn, tables).bytes > bytes_max;
		swept.more = swept.over || expiry_us(row) <= expired_us;
		if (!swept.more || swept.rows == rows_max)
			break;
		rc = mdb_cursor_del(cursor, 0);
		if (rc == 0)
			rc = sweep_entry(txn, tables, row);
		if (rc != 0)
			break;
		swept.rows++;
	}
	mdb_cursor_close(cursor);
	if (rc == MDB_NOTFOUND) { /* nothing left to delete */
		swept.more = swept.over = false;
		rc = 0;
	}
	if (rc == 0)
		*ret = swept;
	return rc;
}
