/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "command.h"

#include <errno.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* @detail, @fix: (transfer full). */
static void
add (BkDiagnosis *diagnosis, const char *check, const char *state, char *detail, char *fix)
{
  BkFinding *finding = g_new0 (BkFinding, 1);
  finding->subject = g_strdup ("daemon");
  finding->check = g_strdup (check);
  finding->state = g_strdup (state);
  finding->detail = detail;
  finding->fix = fix;
  if (diagnosis->findings == NULL)
    diagnosis->findings = g_ptr_array_new ();
  g_ptr_array_insert (diagnosis->findings, 0, finding);
  if (strcmp (state, "problem") == 0 || (strcmp (state, "warning") == 0 && g_strcmp0 (diagnosis->state, "problem") != 0)) {
    g_free (diagnosis->state);
    diagnosis->state = g_strdup (state);
  }
}

/* --- the daemon does not answer --- */

static char *
owner_of (uid_t uid)
{
  const struct passwd *entry = getpwuid (uid);
  return entry ? g_strdup (entry->pw_name) : g_strdup_printf ("%u", (unsigned)uid);
}

static char *
socket_fix (const char *path, const GError *failure)
{
  struct stat info;
  if (stat (path, &info) < 0 && errno == ENOENT)
    return g_strdup ("start it ('systemctl start backupd', or 'backupd' as your own user), or tell where it listens, by '--host unix:PATH' or BACKUPD_HOST");
  if (stat (path, &info) < 0)
    return g_strdup_printf ("you may not look there (%s): run this as root ('sudo backupctl doctor')", g_strerror (errno));
  if (!S_ISSOCK (info.st_mode))
    return g_strdup_printf ("%s is no socket: tell where the daemon listens, by '--host unix:PATH' or BACKUPD_HOST", path);
  g_autofree char *owner = owner_of (info.st_uid);
  if (access (path, R_OK | W_OK) < 0 || g_error_matches (failure, BK_ERROR, BK_ERROR_DENIED))
    return g_strdup_printf ("it serves root and its own user '%s' only: run this as one of them ('sudo -u %s backupctl doctor')", owner, owner);
  return g_strdup_printf ("it has ended without removing its socket, or hangs: see 'journalctl -u backupd', then 'systemctl restart backupd' (as user '%s')", owner);
}

static BkDiagnosis *
diagnose_unreachable (BkConnection *connection, const GError *failure)
{
  BkDiagnosis *diagnosis = g_new0 (BkDiagnosis, 1);
  const char *address = bk_connection_address (connection);
  bool local = g_str_has_prefix (address, "unix:");
  add (diagnosis, "answers", "problem", g_strdup (failure->message),
       local ? socket_fix (address + strlen ("unix:"), failure) : g_strdup ("see that the daemon runs there, and was told '--listen tcp:HOST:PORT'; with https, that the certificate is of that host"));
  return diagnosis;
}

/* --- it does --- */

static char *
daemon_version (BkConnection *connection, GError **error)
{
  json_object *version = NULL;
  g_autoptr (json_object) health = bk_connection_call (connection, "GET", "/v1/health", NULL, error);
  if (health == NULL)
    return NULL;
  json_object_object_get_ex (health, "version", &version);
  return g_strdup (version ? json_object_get_string (version) : "of unknown version");
}

static BkDiagnosis *
diagnose (const BkArgs *args, BkConnection *connection, GError **error)
{
  g_autoptr (GError) failure = NULL;
  g_autofree char *path = bk_args_query (args, "/v1/doctor");
  g_autofree char *version = daemon_version (connection, &failure);
  if (version == NULL)
    return diagnose_unreachable (connection, failure);
  BkDiagnosis *diagnosis = bk_connection_read (connection, "GET", path, NULL, &bk_diagnosis_struct, NULL, error);
  if (diagnosis == NULL)
    return NULL;
  if (strcmp (version, BK_VERSION) == 0)
    add (diagnosis, "answers", "ok", g_strdup_printf ("at %s, version %s, as this client", bk_connection_address (connection), version), NULL);
  else
    add (diagnosis, "answers", "warning", g_strdup_printf ("the daemon has version %s, and this client " BK_VERSION, version),
         g_strdup ("install both in one version, and restart the daemon"));
  return diagnosis;
}

/* --- what is shown --- */

static unsigned
count (const BkDiagnosis *diagnosis, const char *state)
{
  unsigned found = 0;
  for (unsigned i = 0; i < diagnosis->findings->len; i++)
    found += strcmp (((const BkFinding *)diagnosis->findings->pdata[i])->state, state) == 0;
  return found;
}

static void
print (BkOutput *output, const BkDiagnosis *diagnosis)
{
  for (unsigned i = 0; i < diagnosis->findings->len; i++) {
    const BkFinding *finding = diagnosis->findings->pdata[i];
    bk_output_line (output, "%-7s  %s: %s: %s", finding->state, finding->subject, finding->check, finding->detail);
    if (finding->fix)
      bk_output_line (output, "         do: %s", finding->fix);
  }
}

static gboolean
doctor (const BkArgs *args, BkConnection *connection, BkOutput *output, GError **error)
{
  g_autoptr (BkDiagnosis) diagnosis = diagnose (args, connection, error);
  if (diagnosis == NULL)
    return FALSE;
  if (bk_output_is_json (output)) {
    g_autoptr (json_object) json = bk_struct_to_json (&bk_diagnosis_struct, diagnosis);
    bk_output_json (output, json);
  } else {
    print (output, diagnosis);
  }
  unsigned problems = count (diagnosis, "problem");
  if (problems == 0)
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_FAILED, problems == 1 ? "%u problem" : "%u problems", problems);
  return FALSE;
}

static const BkOption options[] = {
  { "vm", BK_OPTION_TEXT, "NAME", NULL, "vm", false, "of the VMs only this one" },
  { NULL },
};

const BkCommand bk_doctor_commands[] = {
  { "doctor", "look for what keeps backups from working, and say what to do", options, NULL, doctor },
  { NULL },
};
