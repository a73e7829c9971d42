/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hook-program.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define OUTPUT_MAX 4096
#define POLL_MS 50
#define KILL_SECONDS 5
#define SAFE_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* --- which --- */

static int
compare_names (gconstpointer a, gconstpointer b)
{
  return strcmp (*(const char *const *)a, *(const char *const *)b);
}

static char *
list_hooks (const char *folder)
{
  g_autoptr (GPtrArray) names = g_ptr_array_new_with_free_func (g_free);
  g_autoptr (GDir) dir = g_dir_open (folder, 0, NULL);
  const char *name = NULL;
  while (dir && (name = g_dir_read_name (dir)) != NULL) {
    g_autofree char *path = g_build_filename (folder, name, NULL);
    if (bk_name_is_valid (name) && g_file_test (path, G_FILE_TEST_IS_EXECUTABLE) && g_file_test (path, G_FILE_TEST_IS_REGULAR))
      g_ptr_array_add (names, g_strdup (name));
  }
  g_ptr_array_sort (names, compare_names);
  g_ptr_array_add (names, NULL);
  return g_strjoinv (", ", (char **)names->pdata);
}

static bool
is_ours_alone (const struct stat *info)
{
  return (info->st_uid == 0 || info->st_uid == geteuid ()) && (info->st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

static gboolean
check_program (const char *folder, const char *name, const char *path, GError **error)
{
  struct stat info, parent;
  if (stat (path, &info) < 0 || !S_ISREG (info.st_mode)) {
    g_autofree char *known = list_hooks (folder);
    g_set_error (error, BK_ERROR, BK_ERROR_NOT_FOUND, "/hook: there is no hook '%s' in '%s'; there are: %s", name, folder, *known ? known : "none");
    return FALSE;
  }
  if (access (path, X_OK) < 0) {
    g_set_error (error, BK_ERROR, BK_ERROR_DENIED, "/hook: '%s' is not executable; make it so (chmod +x)", path);
    return FALSE;
  }
  if (stat (folder, &parent) == 0 && is_ours_alone (&info) && is_ours_alone (&parent))
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_DENIED, "/hook: others could have written '%s'; it and its folder must belong to root or to the daemon's user, and be writable by nobody else", path);
  return FALSE;
}

char *
bk_hook_find (const char *folder, const char *name, GError **error)
{
  if (folder == NULL) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "/hook: this daemon has no hooks; name their folder in its configuration (hooks-dir)");
    return NULL;
  }
  if (!bk_name_is_valid (name)) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "/hook: '%s' is no name of a program in '%s'", name, folder);
    return NULL;
  }
  g_autofree char *path = g_build_filename (folder, name, NULL);
  return check_program (folder, name, path, error) ? g_steal_pointer (&path) : NULL;
}

/* --- running it --- */

typedef struct {
  pid_t pid;
  int output; /* its stdout and stderr */
  GString *said;
  bool ended;
  int status;
} Hook;

static void
prepare_child (gpointer parent)
{
  setsid ();
  prctl (PR_SET_PDEATHSIG, SIGTERM);
  if (getppid () != GPOINTER_TO_INT (parent)) /* it died before */
    raise (SIGKILL);
}

static gboolean
start (Hook *hook, const char *path, const char *event, GStrv variables, GError **error)
{
  int ends[2];
  const char *const argv[] = { path, event, NULL };
  g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();
  g_strv_builder_add_many (builder, SAFE_PATH, "LANG=C.UTF-8", NULL);
  g_strv_builder_addv (builder, (const char **)variables);
  g_auto (GStrv) environment = g_strv_builder_end (builder);
  if (pipe2 (ends, O_CLOEXEC) < 0)
    return bk_error_set_errno (error, errno, "cannot make a pipe");
  gboolean ok = g_spawn_async_with_pipes_and_fds (NULL, argv, (const char *const *)environment, G_SPAWN_DO_NOT_REAP_CHILD, prepare_child,
                                                  GINT_TO_POINTER (getpid ()), -1, ends[1], ends[1], NULL, NULL, 0, &hook->pid, NULL, NULL, NULL, error);
  close (ends[1]);
  hook->output = ends[0];
  hook->said = g_string_new (NULL);
  hook->ended = !ok;
  return ok;
}

/* The last of it counts. */
static bool
read_some (Hook *hook)
{
  char bytes[1024];
  ssize_t n = read (hook->output, bytes, sizeof bytes);
  if (n <= 0)
    return n < 0 && errno == EINTR;
  g_string_append_len (hook->said, bytes, n);
  if (hook->said->len > OUTPUT_MAX)
    g_string_erase (hook->said, 0, (gssize)(hook->said->len - OUTPUT_MAX));
  return true;
}

/* What it says within @milliseconds. What it has left in the background may hold the pipe for ever. */
static bool
hear (Hook *hook, int milliseconds)
{
  struct pollfd fd = { .fd = hook->output, .events = POLLIN };
  return poll (&fd, 1, milliseconds) > 0 && read_some (hook);
}

static void
look_for_end (Hook *hook)
{
  pid_t pid = hook->ended ? 0 : waitpid (hook->pid, &hook->status, WNOHANG);
  hook->ended = hook->ended || pid == hook->pid || (pid < 0 && errno == ECHILD);
}

/* True when it has ended by @deadline. */
static bool
wait_until (Hook *hook, int64_t deadline, GCancellable *cancellable)
{
  while (!hook->ended && g_get_monotonic_time () < deadline && !g_cancellable_is_cancelled (cancellable)) {
    if (!hear (hook, POLL_MS))
      g_usleep (POLL_MS * 100);
    look_for_end (hook);
  }
  return hook->ended;
}

static int64_t
in_seconds (unsigned seconds)
{
  return g_get_monotonic_time () + (int64_t)seconds * G_USEC_PER_SEC;
}

static void
end_by_force (Hook *hook)
{
  kill (-hook->pid, SIGTERM);
  if (!wait_until (hook, in_seconds (KILL_SECONDS), NULL))
    kill (-hook->pid, SIGKILL);
  wait_until (hook, in_seconds (KILL_SECONDS), NULL);
}

static char *
why_failed (const Hook *hook)
{
  if (WIFSIGNALED (hook->status))
    return g_strdup_printf ("it was ended by signal %d", WTERMSIG (hook->status));
  return WEXITSTATUS (hook->status) ? g_strdup_printf ("it ended with status %d", WEXITSTATUS (hook->status)) : NULL;
}

/* For JSON, and for people: text, and no more than that. */
static char *
words_of (const Hook *hook)
{
  g_autofree char *valid = g_utf8_make_valid (hook->said->str, (gssize)hook->said->len);
  for (char *byte = valid; *byte; byte++)
    if (g_ascii_iscntrl (*byte) && *byte != '\n' && *byte != '\t')
      *byte = ' ';
  return g_strdup (g_strchomp (valid));
}

static void
run_to_end (Hook *hook, BkHookRun *run, unsigned seconds, GCancellable *cancellable)
{
  if (!wait_until (hook, in_seconds (seconds), cancellable)) {
    run->reason = g_cancellable_is_cancelled (cancellable) ? g_strdup ("it was told to end, because the job was")
                                                           : g_strdup_printf ("it did not end within %u s", seconds);
    end_by_force (hook);
  }
  for (unsigned i = 0; i < OUTPUT_MAX && hear (hook, 0); i++)
    continue;
  run->output = words_of (hook);
  if (run->reason == NULL)
    run->reason = why_failed (hook);
}

BkHookRun *
bk_hook_program_run (const char *path, const char *event, GStrv variables, unsigned seconds, GCancellable *cancellable)
{
  BkHookRun *run = g_new0 (BkHookRun, 1);
  Hook hook = { 0 };
  g_autoptr (GError) error = NULL;
  run->event = g_strdup (event);
  run->started_at = g_get_real_time ();
  if (start (&hook, path, event, variables, &error))
    run_to_end (&hook, run, seconds, cancellable);
  else
    run->reason = g_strdup (error->message);
  if (hook.said) {
    close (hook.output);
    g_string_free (hook.said, TRUE);
  }
  run->ended_at = g_get_real_time ();
  run->state = g_strdup (run->reason ? "failed" : "done");
  return run;
}
