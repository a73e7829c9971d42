/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Durable file operations, each with a failpoint, so that tests can fail or crash at the n-th operation.
 * Every write of the archive goes through here. Blocking: worker threads, or start-up. Errors are set with
 * bk_error_set_errno(): NO_SPACE, NOT_FOUND, DENIED, FAILED; the path is in the message.
 *
 * Failpoints: with the environment variable BACKUPD_FAIL_IO=N the N-th operation of the process (from 1)
 * fails with EIO; BACKUPD_CRASH_IO=N ends the process by SIGKILL before it. Tests may also call
 * bk_fsio_fail_at().
 */
#pragma once

#include "bk-error.h"

#include <json-c/json.h>
#include <stdint.h>

/* mkdir -p, mode 0700 for what is new, and fsync of each new folder's parent. */
gboolean bk_fsio_make_folder (const char *path, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Writes @length bytes to a temporary file beside @path, fsyncs it, renames it to @path, fsyncs the folder.
 * Either the old or the new content is there, whatever happens. Mode 0600. */
gboolean bk_fsio_write_file (const char *path, const void *data, size_t length, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* bk_fsio_write_file() of pretty-printed JSON and a final newline. */
gboolean bk_fsio_write_json (const char *path, json_object *json, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Makes an empty file that must not exist (CONFLICT), mode 0600. Not synced: it is about to be filled. */
gboolean bk_fsio_create_file (const char *path, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Writes or reads all of @length bytes at @offset of an open file; a read behind the end is CORRUPT. */
gboolean bk_fsio_write_at (int fd, const char *path_for_errors, const void *data, size_t length, uint64_t offset, GError **error) G_GNUC_WARN_UNUSED_RESULT;
gboolean bk_fsio_read_at (int fd, const char *path_for_errors, void *data, size_t length, uint64_t offset, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Reads a file of at most @limit bytes, NUL-terminated behind the content. CORRUPT when it is longer. */
gboolean bk_fsio_read_file (const char *path, size_t limit, char **data, size_t *length, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* fsync of a file (by path or descriptor), or of a folder. */
gboolean bk_fsio_sync (const char *path, GError **error) G_GNUC_WARN_UNUSED_RESULT;
gboolean bk_fsio_sync_fd (int fd, const char *path_for_errors, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* rename(2), then fsync of the folder(s). Refuses to replace @to unless @replace (renameat2 NOREPLACE):
 * CONFLICT. */
gboolean bk_fsio_rename (const char *from, const char *to, gboolean replace, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Removes a file or a whole folder (symbolic links are removed, not followed); nothing there is success.
 * fsyncs the parent. */
gboolean bk_fsio_remove (const char *path, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* An unnamed file (O_TMPFILE, else a file unlinked at once) of @size sparse bytes in @folder, for scratch.
 * Nothing is left when the last descriptor goes. Returns the descriptor, or -1. */
int bk_fsio_open_scratch (const char *folder, uint64_t size, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Bytes that an ordinary user may still write on the file system of @path. */
gboolean bk_fsio_free_space (const char *path, uint64_t *bytes, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The next @n-th operation (1 = the next one) fails with @errsv, or, when that is negative, ends the process by
 * SIGKILL; n = 0 turns it off. For tests. */
void bk_fsio_fail_at (unsigned n, int errsv);
/* Operations counted since start or the last bk_fsio_fail_at(). */
unsigned bk_fsio_count (void);
