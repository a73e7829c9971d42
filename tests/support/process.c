/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "process.h"

#include <check.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define START_S 20

struct BkProcess {
  pid_t pid;
  bool ended;
  int status;
};

static void
die_with_parent (gpointer parent)
{
  prctl (PR_SET_PDEATHSIG, SIGKILL);
  if (getppid () != GPOINTER_TO_INT (parent)) /* it died before */
    raise (SIGKILL);
}

BkProcess *
bk_process_start (const char *const *argv)
{
  g_autoptr (GError) error = NULL;
  GPid pid = 0;
  gboolean started = g_spawn_async (NULL, (char **)argv, NULL,
                                    G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_CHILD_INHERITS_STDIN,
                                    die_with_parent, GINT_TO_POINTER (getpid ()), &pid, &error);
  ck_assert_msg (started, "%s: %s", argv[0], error ? error->message : "");
  BkProcess *process = g_new0 (BkProcess, 1);
  process->pid = pid;
  return process;
}

static void
reap (BkProcess *process, int flags)
{
  int status = 0;
  pid_t pid = 0;
  if (process->ended)
    return;
  do
    pid = waitpid (process->pid, &status, flags);
  while (pid < 0 && errno == EINTR);
  if (pid == 0)
    return;
  process->ended = true;
  process->status = WIFSIGNALED (status) ? -WTERMSIG (status) : WEXITSTATUS (status);
}

BkProcess *
bk_process_start_listening (const char *const *argv, const char *socket_path)
{
  BkProcess *process = bk_process_start (argv);
  gint64 deadline = g_get_monotonic_time () + START_S * G_TIME_SPAN_SECOND;
  while (!bk_socket_is_listening (socket_path)) {
    reap (process, WNOHANG);
    ck_assert_msg (!process->ended, "%s ended with %d instead of listening", argv[0], process->status);
    ck_assert_msg (g_get_monotonic_time () < deadline, "%s does not listen on %s", argv[0], socket_path);
    g_usleep (10000);
  }
  return process;
}

pid_t
bk_process_pid (const BkProcess *process)
{
  return process->pid;
}

void
bk_process_signal (BkProcess *process, int signal_number)
{
  if (!process->ended)
    kill (process->pid, signal_number);
}

int
bk_process_wait (BkProcess *process)
{
  reap (process, 0);
  return process->status;
}

void
bk_process_free (BkProcess *process)
{
  if (process == NULL)
    return;
  bk_process_signal (process, SIGKILL);
  reap (process, 0);
  g_free (process);
}

void
bk_process_run (const char *const *argv)
{
  g_autoptr (BkProcess) process = bk_process_start (argv);
  int status = bk_process_wait (process);
  ck_assert_msg (status == 0, "%s ended with %d", argv[0], status);
}

bool
bk_socket_is_listening (const char *path)
{
  g_autofree char *table = NULL;
  if (!g_file_get_contents ("/proc/net/unix", &table, NULL, NULL))
    return false;
  g_auto (GStrv) lines = g_strsplit (table, "\n", -1);
  for (char **line = lines; *line; line++) {
    /* Num: RefCount Protocol Flags Type St Inode Path; flag 10000 says that it accepts connections. */
    const char *name = strchr (*line, '/');
    if (name && g_str_equal (name, path) && strstr (*line, " 00010000 "))
      return true;
  }
  return false;
}
