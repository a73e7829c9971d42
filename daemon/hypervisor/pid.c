/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pid.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool
bk_pid_has_ended (pid_t pid)
{
  g_autofree char *path = g_strdup_printf ("/proc/%d/stat", (int)pid);
  g_autofree char *stat = NULL;
  if (!g_file_get_contents (path, &stat, NULL, NULL))
    return kill (pid, 0) != 0 && errno == ESRCH;
  const char *name_end = strrchr (stat, ')');
  return name_end != NULL && g_str_has_prefix (name_end, ") Z");
}

/* "PID (NAME) STATE ...": the 22nd word is the time of its start, the 20th behind the name, which may hold anything. */
static char *
start_of (pid_t pid)
{
  enum { START = 19 };
  g_autofree char *path = g_strdup_printf ("/proc/%d/stat", (int)pid);
  g_autofree char *stat = NULL;
  if (!g_file_get_contents (path, &stat, NULL, NULL))
    return NULL;
  const char *name_end = strrchr (stat, ')');
  g_auto (GStrv) words = g_strsplit (name_end && name_end[1] ? name_end + 2 : "", " ", -1);
  return g_strv_length (words) > START ? g_strdup (words[START]) : NULL;
}

static bool
is_qemu (pid_t pid)
{
  g_autofree char *path = g_strdup_printf ("/proc/%d/comm", (int)pid);
  g_autofree char *name = NULL;
  return g_file_get_contents (path, &name, NULL, NULL) && (g_str_has_prefix (name, "qemu") || g_str_has_prefix (name, "kvm"));
}

char *
bk_pid_identity (pid_t pid)
{
  g_autofree char *start = pid > 0 && is_qemu (pid) && !bk_pid_has_ended (pid) ? start_of (pid) : NULL;
  return start ? g_strdup_printf ("%d %s", (int)pid, start) : NULL;
}

bool
bk_pid_still_runs (const char *identity)
{
  g_autofree char *now = bk_pid_identity ((pid_t)atoi (identity));
  return g_strcmp0 (now, identity) == 0;
}

/* "Uid:\tREAL\tEFFECTIVE\t..." */
bool
bk_pid_is_of_other_user (pid_t pid)
{
  g_autofree char *path = g_strdup_printf ("/proc/%d/status", (int)pid);
  g_autofree char *status = NULL;
  if (pid <= 0 || !g_file_get_contents (path, &status, NULL, NULL))
    return false;
  const char *line = strstr (status, "\nUid:\t");
  const char *effective = line ? strchr (line + strlen ("\nUid:\t"), '\t') : NULL;
  return effective != NULL && strtoul (effective + 1, NULL, 10) != geteuid ();
}

static bool
is_wanted (const char *pid, const char *program, const char *argument)
{
  g_autofree char *path = g_strdup_printf ("/proc/%s/cmdline", pid);
  g_autofree char *line = NULL;
  gsize length = 0;
  if (!g_file_get_contents (path, &line, &length, NULL))
    return false;
  g_autofree char *name = length > 0 ? g_path_get_basename (line) : NULL;
  if (g_strcmp0 (name, program) != 0)
    return false;
  for (const char *word = line; word < line + length; word += strlen (word) + 1)
    if (strcmp (word, argument) == 0)
      return true;
  return false;
}

bool
bk_pid_is (pid_t pid, const char *program, const char *argument)
{
  g_autofree char *name = g_strdup_printf ("%d", (int)pid);
  return pid > 0 && is_wanted (name, program, argument) && !bk_pid_has_ended (pid);
}

pid_t
bk_pid_find (const char *program, const char *argument)
{
  g_autoptr (GDir) proc = g_dir_open ("/proc", 0, NULL);
  const char *name = NULL;
  while (proc && (name = g_dir_read_name (proc)) != NULL)
    if (g_ascii_isdigit (*name) && is_wanted (name, program, argument))
      return (pid_t)atoi (name);
  return 0;
}
