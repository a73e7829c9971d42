/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "freeze.h"

#include "guard-report.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#define PROGRAM "thaw-guard"
/* Beyond what the guard itself allows the agent. */
#define GRACE_MS 5000
#define END_WAIT_MS 15000
#define REPORT_MAX 4096

struct BkFreeze {
  int commands; /* to the guard; -1 when closed */
  int reports;  /* from it */
  GString *input;
  char *refusal; /* why it is not frozen */
  uint64_t file_systems;
  bool frozen; /* as far as we know */
  bool over;   /* nothing more comes from the guard */
};

/* --- starting the guard --- */

/* Beside a daemon that runs from where it was built is its own. */
char *
bk_freeze_find_guard (void)
{
  const char *named = g_getenv ("BACKUPD_THAW_GUARD");
  if (named)
    return g_strdup (named);
  g_autofree char *program = g_file_read_link ("/proc/self/exe", NULL);
  g_autofree char *folder = program ? g_path_get_dirname (program) : NULL;
  g_autofree char *built = folder ? g_build_filename (folder, "guard", PROGRAM, NULL) : NULL;
  return built && g_file_test (built, G_FILE_TEST_IS_EXECUTABLE) ? g_steal_pointer (&built) : g_strdup (BK_LIBEXEC_DIR "/" PROGRAM);
}

/* What is sent to us and to all that we have started is not for the guard. */
static void
leave_session (gpointer data G_GNUC_UNUSED)
{
  setsid ();
}

static BkFreeze *
start_guard (const char *const *arguments, GError **error)
{
  g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();
  g_autoptr (GError) failure = NULL;
  g_autofree char *program = bk_freeze_find_guard ();
  BkFreeze *freeze = g_new0 (BkFreeze, 1);
  g_strv_builder_add (builder, program);
  g_strv_builder_addv (builder, (const char **)arguments);
  g_auto (GStrv) argv = g_strv_builder_end (builder);
  freeze->input = g_string_new (NULL);
  /* It is no child of ours: nobody has to wait for it. Its complaints go where ours go. */
  if (g_spawn_async_with_pipes (NULL, argv, NULL, G_SPAWN_DEFAULT, leave_session, NULL, NULL, &freeze->commands, &freeze->reports, NULL, &failure))
    return freeze;
  g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "cannot start '%s', without which no guest is frozen: %s", program, failure->message);
  freeze->commands = freeze->reports = -1;
  bk_freeze_free (freeze);
  return NULL;
}

/* --- talking to it --- */

static void
close_commands (BkFreeze *freeze)
{
  if (freeze->commands >= 0)
    close (freeze->commands);
  freeze->commands = -1;
}

/* It may have died: that is told by its silence. */
static void
command (const BkFreeze *freeze, const char *word)
{
  g_autofree char *line = g_strconcat (word, "\n", NULL);
  ssize_t n = freeze->commands < 0 ? 0 : write (freeze->commands, line, strlen (line));
  if (n < 0)
    g_debug ("thaw guard: %s", g_strerror (errno));
}

static bool
receive (BkFreeze *freeze)
{
  char bytes[512];
  ssize_t n = read (freeze->reports, bytes, sizeof bytes);
  if (n > 0)
    g_string_append_len (freeze->input, bytes, n);
  freeze->over = (n == 0 || (n < 0 && errno != EINTR)) || freeze->input->len > REPORT_MAX;
  return !freeze->over;
}

static BkGuardReport *
take_report (BkFreeze *freeze)
{
  const char *newline = memchr (freeze->input->str, '\n', freeze->input->len);
  if (newline == NULL)
    return NULL;
  size_t length = (size_t)(newline - freeze->input->str);
  g_autoptr (GError) error = NULL;
  g_autoptr (json_object) json = bk_json_parse (freeze->input->str, length, &error);
  BkGuardReport *report = json ? bk_struct_from_json_lax (&bk_guard_report_struct, json, &error) : NULL;
  g_string_erase (freeze->input, 0, (gssize)length + 1);
  if (error)
    g_warning ("thaw guard: %s", error->message);
  return report;
}

static int
cancel_fd (GCancellable *cancellable)
{
  return cancellable ? g_cancellable_get_fd (cancellable) : -1;
}

/* The next report, or NULL: none came in time, the guard has ended, or we are told not to wait any longer. */
static BkGuardReport *
wait_report (BkFreeze *freeze, int64_t deadline, GCancellable *cancellable)
{
  struct pollfd fds[] = { { .fd = freeze->reports, .events = POLLIN }, { .fd = cancel_fd (cancellable), .events = POLLIN } };
  BkGuardReport *report = NULL;
  while ((report = take_report (freeze)) == NULL && !freeze->over && !g_cancellable_is_cancelled (cancellable)) {
    int64_t left_us = deadline - g_get_monotonic_time ();
    if (left_us <= 0)
      break;
    if (poll (fds, G_N_ELEMENTS (fds), (int)((left_us + 999) / 1000)) > 0 && fds[0].revents)
      receive (freeze);
  }
  if (fds[1].fd >= 0)
    g_cancellable_release_fd (cancellable);
  return report;
}

static int64_t
in_ms (unsigned milliseconds)
{
  return g_get_monotonic_time () + (int64_t)milliseconds * 1000;
}

static bool
is_state (const BkGuardReport *report, const char *state)
{
  return report && strcmp (report->state, state) == 0;
}

/* --- freezing --- */

static gboolean
fail (GError **error, BkErrorCode code, const BkGuardReport *report, const char *else_reason)
{
  g_set_error_literal (error, BK_ERROR, (int)code, report && report->reason ? report->reason : else_reason);
  return FALSE;
}

BkFreeze *
bk_freeze_new (const char *address, const char *const *mounts, unsigned limit_ms, GError **error)
{
  g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();
  g_autofree char *limit = g_strdup_printf ("%u", limit_ms);
  g_strv_builder_add_many (builder, "freeze", address, limit, NULL);
  if (mounts)
    g_strv_builder_addv (builder, (const char **)mounts);
  g_auto (GStrv) arguments = g_strv_builder_end (builder);
  g_autoptr (BkFreeze) freeze = start_guard ((const char *const *)arguments, error);
  if (freeze == NULL)
    return NULL;
  g_autoptr (BkGuardReport) report = wait_report (freeze, in_ms (2 * BK_GUARD_OPEN_MS + GRACE_MS), NULL);
  if (is_state (report, "ready"))
    return g_steal_pointer (&freeze);
  fail (error, report && report->held ? BK_ERROR_CONFLICT : BK_ERROR_UNREACHABLE, report, "the thaw guard does not start");
  return NULL;
}

gboolean
bk_freeze_begin (BkFreeze *freeze, GCancellable *cancellable, GError **error)
{
  command (freeze, BK_GUARD_FREEZE);
  g_autoptr (BkGuardReport) report = wait_report (freeze, in_ms (BK_GUARD_FREEZE_MS + GRACE_MS), cancellable);
  freeze->frozen = is_state (report, "frozen");
  if (freeze->frozen) {
    freeze->file_systems = report->file_systems;
    return TRUE;
  }
  if (report == NULL && g_cancellable_is_cancelled (cancellable))
    fail (error, BK_ERROR_CANCELLED, NULL, "cancelled");
  else
    fail (error, BK_ERROR_FAILED, report, "the thaw guard has ended or hangs");
  freeze->refusal = g_strdup (report && report->reason ? report->reason : "the guest could not be frozen in time");
  return FALSE;
}

static BkGuardReport *
wait_thawed (BkFreeze *freeze, int64_t deadline)
{
  for (;;) {
    g_autoptr (BkGuardReport) report = wait_report (freeze, deadline, NULL);
    if (report == NULL || is_state (report, "thawed"))
      return g_steal_pointer (&report);
    if (is_state (report, "unable") && freeze->refusal == NULL)
      freeze->refusal = g_strdup (report->reason);
  }
}

/* A freeze that is under way has to come to its end before it can be undone. */
static unsigned
patience_ms (const BkFreeze *freeze)
{
  return freeze->frozen || freeze->refusal == NULL ? END_WAIT_MS : END_WAIT_MS + BK_GUARD_FREEZE_MS;
}

void
bk_freeze_end (BkFreeze *freeze, BkQuiesceInfo *info)
{
  command (freeze, BK_GUARD_THAW);
  close_commands (freeze);
  g_autoptr (BkGuardReport) report = wait_thawed (freeze, in_ms (patience_ms (freeze)));
  info->quiesced = freeze->frozen && report && report->held;
  info->file_systems = freeze->file_systems;
  info->frozen_ms = report ? (report->frozen_us + 999) / 1000 : 0;
  info->thawed = report != NULL;
  g_free (info->reason);
  info->reason = info->quiesced                ? NULL
                 : freeze->refusal             ? g_strdup (freeze->refusal)
                 : report && report->reason    ? g_strdup (report->reason)
                                               : g_strdup ("the guest agent has not said that the guest is thawed");
}

void
bk_freeze_free (BkFreeze *freeze)
{
  if (freeze == NULL)
    return;
  close_commands (freeze);
  if (freeze->reports >= 0)
    close (freeze->reports);
  g_string_free (freeze->input, TRUE);
  g_free (freeze->refusal);
  g_free (freeze);
}

gboolean
bk_freeze_thaw_left (const char *address, GError **error)
{
  const char *const arguments[] = { "thaw", address, NULL };
  g_autoptr (BkFreeze) freeze = start_guard (arguments, error);
  if (freeze == NULL)
    return FALSE;
  g_autoptr (BkGuardReport) report = wait_thawed (freeze, in_ms (END_WAIT_MS));
  if (report)
    return TRUE;
  return fail (error, BK_ERROR_UNREACHABLE, NULL, "the guest agent does not answer; a thaw guard goes on trying");
}
