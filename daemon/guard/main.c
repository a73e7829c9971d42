/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * thaw-guard freeze ADDRESS LIMIT-MS [MOUNT-POINT]...   started by backupd before it freezes a guest: see thaw-guard.h
 * thaw-guard thaw ADDRESS                               thaws a guest, also by hand
 *
 * ADDRESS is that of the guest's agent, unix:PATH or libvirt:UUID@URI.
 */
#include "thaw-guard.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* What ends the daemon and all that it has started means here: thaw now. */
static int
catch_signals (void)
{
  sigset_t set;
  sigemptyset (&set);
  sigaddset (&set, SIGTERM);
  sigaddset (&set, SIGINT);
  signal (SIGHUP, SIG_IGN);
  signal (SIGPIPE, SIG_IGN);
  return sigprocmask (SIG_BLOCK, &set, NULL) == 0 ? signalfd (-1, &set, SFD_CLOEXEC) : -1;
}

static int
usage (void)
{
  fputs ("usage: thaw-guard freeze ADDRESS LIMIT-MS [MOUNT-POINT]...\n       thaw-guard thaw ADDRESS\n", stderr);
  return 2;
}

int
main (int argc, char **argv)
{
  guint64 limit_ms = 0;
  g_autoptr (GError) error = NULL;
  bool freeze = argc >= 4 && strcmp (argv[1], "freeze") == 0 && g_ascii_string_to_unsigned (argv[3], 10, 1, 600000, &limit_ms, NULL);
  bool thaw = argc == 3 && strcmp (argv[1], "thaw") == 0;
  if (!freeze && !thaw)
    return usage ();
  g_set_prgname ("thaw-guard");
  g_autoptr (BkAgent) agent = bk_agent_new (argv[2], &error);
  if (agent == NULL) {
    g_printerr ("thaw-guard: %s\n", error->message);
    return 2;
  }
  BkThawGuard guard = {
    .agent = agent,
    .mounts = freeze ? (const char *const *)argv + 4 : NULL,
    .limit_ms = (unsigned)limit_ms,
    .commands = STDIN_FILENO,
    .reports = STDOUT_FILENO,
    .signals = catch_signals (),
  };
  bool done = freeze ? bk_thaw_guard_freeze (&guard) : bk_thaw_guard_thaw (&guard);
  return done ? EXIT_SUCCESS : EXIT_FAILURE;
}
