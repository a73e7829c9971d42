/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The one error domain. A code says what the caller can do about it; the table in bk-error.c gives each
 * code its wire name, HTTP status, process exit status and meaning. Daemon, REST, CLI and documents read
 * that table and nothing else. Errors of libraries (GIO, SQLite, json-c, ...) are translated in the file
 * that calls the library.
 */
#pragma once

#include <gio/gio.h>

#define BK_ERROR (bk_error_quark ())

typedef enum {
  BK_ERROR_FAILED,      /* the job or the operation failed */
  BK_ERROR_INVALID,     /* the request is wrong; the message says where */
  BK_ERROR_PARTIAL,     /* some disks are safe, some are not */
  BK_ERROR_NOT_FOUND,   /* no such thing; the message names what there is */
  BK_ERROR_CONFLICT,    /* busy, or not in this state; the message names the job in the way */
  BK_ERROR_UNREACHABLE, /* daemon, QEMU, libvirt or repository cannot be reached */
  BK_ERROR_DENIED,      /* not allowed */
  BK_ERROR_CANCELLED,   /* cancelled on request */
  BK_ERROR_CORRUPT,     /* stored data does not match; names disk and offset */
  BK_ERROR_NO_SPACE,    /* target, scratch or state directory is full; nothing earlier was lost */
  BK_ERROR_LAST         /* number of codes, not a code */
} BkErrorCode;

typedef struct {
  BkErrorCode code;
  const char *name;    /* on the wire: "not-found" */
  unsigned http;       /* 0: never the status of an HTTP answer */
  int exit_status;     /* of backupctl */
  const char *meaning; /* one clause for documents */
} BkErrorEntry;

GQuark bk_error_quark (void);

/* The table's row of @code. Never NULL. Any thread. */
const BkErrorEntry *bk_error_entry (BkErrorCode code);

/* The row whose wire name is @name, or the row of BK_ERROR_FAILED when there is none (also for NULL):
 * a newer peer may know codes that we do not. */
const BkErrorEntry *bk_error_entry_by_name (const char *name);

/* The row for @error: its own code in our domain, CANCELLED for G_IO_ERROR_CANCELLED, NO_SPACE for
 * G_IO_ERROR_NO_SPACE, FAILED for any other domain. */
const BkErrorEntry *bk_error_entry_of (const GError *error);

/* Sets @error from an errno value: NO_SPACE for ENOSPC and EDQUOT, NOT_FOUND for ENOENT, DENIED for
 * EACCES, EPERM and EROFS, else FAILED; the text is "FORMAT...: strerror". Always returns FALSE. */
gboolean bk_error_set_errno (GError **error, int errsv, const char *format, ...) G_GNUC_PRINTF (3, 4);
