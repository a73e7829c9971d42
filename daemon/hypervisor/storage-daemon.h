/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A qemu-storage-daemon of ours. It outlives the daemon, is no child of it, and is found by the path of its PID file,
 * which is one of its arguments. What it does is told by its other arguments: those of gateway.c for third parties,
 * those of offline-images.c for the images of a VM that is shut off.
 *
 * Worker threads.
 */
#pragma once

#include "bk-error.h"

#include <stdbool.h>

/* It finds the descriptor that is handed to it there. */
#define BK_STORAGE_DAEMON_FD 3

typedef struct {
  GStrv argv;           /* with the program's name; "--pidfile PATH" is added */
  const char *pid_file;
  const char *log;      /* a file: its stderr */
  int fd;               /* a listening socket; stays the caller's */
  const char *purpose;  /* "exports for third parties": completes "qemu-storage-daemon, which ..." */
} BkStorageDaemon;

/* Starts it and waits until it has set up all. FAILED with its own last words. */
gboolean bk_storage_daemon_start (const BkStorageDaemon *wanted, GError **error) G_GNUC_WARN_UNUSED_RESULT;

bool bk_storage_daemon_runs (const char *pid_file);

/* Ends the one of @pid_file, if there is one; @cleanly: it may close its images first, for which it has 10 s. */
void bk_storage_daemon_end (const char *pid_file, bool cleanly);
