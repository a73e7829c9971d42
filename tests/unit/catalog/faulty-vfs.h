/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A file system beneath SQLite that fails on demand. It is the default one of the process once registered.
 */
#pragma once

#include <sqlite3.h>
#include <stdbool.h>

void faulty_vfs_register (void);

/* The @n-th write, sync or truncate from now on fails with @rc and @errsv; with @stays all after it too. 0 ends it.
 * Starts the count anew. */
void faulty_vfs_fail_at (int n, int rc, int errsv, bool stays);

/* True when an operation has failed since. */
bool faulty_vfs_has_failed (void);

/* Bytes written to a write-ahead log since its last sync. */
long faulty_vfs_unsynced (void);
