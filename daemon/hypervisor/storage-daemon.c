/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "storage-daemon.h"

#include "pid.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define PROGRAM "qemu-storage-daemon"
#define START_TIMEOUT_US (15 * G_USEC_PER_SEC)
#define CLEAN_TIMEOUT_US (10 * G_USEC_PER_SEC)
#define END_TIMEOUT_US (5 * G_USEC_PER_SEC)
#define POLL_US 5000

static void
leave_session (gpointer data G_GNUC_UNUSED)
{
  setsid ();
}

static GStrv
arguments (const BkStorageDaemon *wanted)
{
  g_autoptr (GStrvBuilder) argv = g_strv_builder_new ();
  g_strv_builder_add (argv, PROGRAM);
  g_strv_builder_addv (argv, (const char **)wanted->argv);
  g_strv_builder_add_many (argv, "--pidfile", wanted->pid_file, NULL);
  return g_strv_builder_end (argv);
}

static gboolean
spawn (const BkStorageDaemon *wanted, int log, GPid *pid, GError **error)
{
  g_auto (GStrv) argv = arguments (wanted);
  const int target = BK_STORAGE_DAEMON_FD;
  g_autoptr (GError) failure = NULL;
  /* It is no child of ours: nobody has to wait for it. */
  if (g_spawn_async_with_pipes_and_fds (NULL, (const char *const *)argv, NULL, G_SPAWN_SEARCH_PATH | G_SPAWN_STDOUT_TO_DEV_NULL, leave_session, NULL, -1,
                                        -1, log, &wanted->fd, &target, 1, pid, NULL, NULL, NULL, &failure))
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "cannot start " PROGRAM " (Debian: qemu-system-common), which %s: %s", wanted->purpose, failure->message);
  return FALSE;
}

/* The last line that it has said. */
static char *
last_words (const char *path)
{
  g_autofree char *log = NULL;
  if (!g_file_get_contents (path, &log, NULL, NULL))
    return g_strdup ("it said nothing");
  g_strchomp (log);
  const char *line = strrchr (log, '\n');
  return g_strdup (line ? line + 1 : log);
}

/* It writes its PID file when all is set up. */
static gboolean
wait_started (const BkStorageDaemon *wanted, pid_t pid, GError **error)
{
  int64_t deadline = g_get_monotonic_time () + START_TIMEOUT_US;
  while (access (wanted->pid_file, F_OK) < 0) {
    bool ended = bk_pid_has_ended (pid);
    if (ended || g_get_monotonic_time () > deadline) {
      g_autofree char *words = last_words (wanted->log);
      g_set_error (error, BK_ERROR, BK_ERROR_FAILED, PROGRAM ", which %s, does not start: %s", wanted->purpose, ended ? words : "no answer in time");
      return FALSE;
    }
    g_usleep (POLL_US);
  }
  return TRUE;
}

gboolean
bk_storage_daemon_start (const BkStorageDaemon *wanted, GError **error)
{
  GPid pid = 0;
  unlink (wanted->pid_file);
  int log = open (wanted->log, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
  if (log < 0)
    return bk_error_set_errno (error, errno, "cannot write '%s'", wanted->log);
  gboolean ok = spawn (wanted, log, &pid, error);
  close (log);
  if (ok && wait_started (wanted, pid, error))
    return TRUE;
  bk_storage_daemon_end (wanted->pid_file, false);
  return FALSE;
}

bool
bk_storage_daemon_runs (const char *pid_file)
{
  g_autofree char *text = NULL;
  guint64 pid = 0;
  if (!g_file_get_contents (pid_file, &text, NULL, NULL))
    return false;
  g_strchomp (text);
  return g_ascii_string_to_unsigned (text, 10, 1, G_MAXINT32, &pid, NULL) && bk_pid_is ((pid_t)pid, PROGRAM, pid_file);
}

static bool
end_by (pid_t pid, int signal_number, int64_t timeout_us)
{
  int64_t deadline = g_get_monotonic_time () + timeout_us;
  if (kill (pid, signal_number) < 0)
    return true;
  while (!bk_pid_has_ended (pid) && g_get_monotonic_time () < deadline)
    g_usleep (POLL_US);
  return bk_pid_has_ended (pid);
}

void
bk_storage_daemon_end (const char *pid_file, bool cleanly)
{
  pid_t pid = bk_pid_find (PROGRAM, pid_file);
  if (pid <= 0 || (cleanly && end_by (pid, SIGTERM, CLEAN_TIMEOUT_US)))
    return;
  end_by (pid, SIGKILL, END_TIMEOUT_US);
}
