/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "options.h"

#include <string.h>
#include <unistd.h>

#define GROUP "daemon"

/* --- the configuration file --- */

typedef gboolean (*ReadKey) (BkOptions *options, GKeyFile *file, const char *key, GError **error);

static gboolean
read_listen (BkOptions *options, GKeyFile *file, const char *key, GError **error)
{
  options->listen = g_key_file_get_string_list (file, GROUP, key, NULL, error);
  return options->listen != NULL;
}

static gboolean
read_path (GKeyFile *file, const char *key, char **path, GError **error)
{
  *path = g_key_file_get_string (file, GROUP, key, error);
  if (*path == NULL || g_path_is_absolute (*path))
    return *path != NULL;
  g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "'%s' is not an absolute path", *path);
  return FALSE;
}

static gboolean
read_state_dir (BkOptions *options, GKeyFile *file, const char *key, GError **error)
{
  return read_path (file, key, &options->state_dir, error);
}

static gboolean
read_scratch_dir (BkOptions *options, GKeyFile *file, const char *key, GError **error)
{
  return read_path (file, key, &options->scratch_dir, error);
}

static gboolean
read_scratch_reserve (BkOptions *options, GKeyFile *file, const char *key, GError **error)
{
  g_autofree char *text = g_key_file_get_string (file, GROUP, key, error);
  return text && bk_size_parse (text, &options->scratch_reserve, error);
}

static gboolean
read_number (GKeyFile *file, const char *key, unsigned max, unsigned *value, GError **error)
{
  g_autofree char *text = g_key_file_get_string (file, GROUP, key, error);
  guint64 number = 0;
  if (text == NULL)
    return FALSE;
  if (!g_ascii_string_to_unsigned (text, 10, 1, max, &number, NULL)) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "'%s' is not a whole number from 1 to %u", text, max);
    return FALSE;
  }
  *value = (unsigned)number;
  return TRUE;
}

static gboolean
read_max_running (BkOptions *options, GKeyFile *file, const char *key, GError **error)
{
  return read_number (file, key, 1000, &options->max_running, error);
}

static gboolean
read_freeze_limit (BkOptions *options, GKeyFile *file, const char *key, GError **error)
{
  return read_number (file, key, 60, &options->freeze_seconds, error);
}

static gboolean
read_hooks_dir (BkOptions *options, GKeyFile *file, const char *key, GError **error)
{
  return read_path (file, key, &options->hooks_dir, error);
}

static gboolean
read_hook_timeout (BkOptions *options, GKeyFile *file, const char *key, GError **error)
{
  return read_number (file, key, 3600, &options->hook_seconds, error);
}

/* At once is one second: a second ago is long gone when somebody asks for a gc. */
static gboolean
read_trash_days (BkOptions *options, GKeyFile *file, const char *key, GError **error)
{
  g_autofree char *text = g_key_file_get_string (file, GROUP, key, error);
  guint64 days = 0;
  if (text == NULL)
    return FALSE;
  if (!g_ascii_string_to_unsigned (text, 10, 0, 36500, &days, NULL)) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "'%s' is not a whole number from 0 to 36500", text);
    return FALSE;
  }
  options->trash_seconds = days ? days * 24 * 60 * 60 : 1;
  return TRUE;
}

/* Twice in the same order: names alone are what others ask for. */
static const char *const keys[] = { "listen", "state-dir", "scratch-dir", "scratch-reserve", "max-running", "trash-days", "freeze-limit", "hooks-dir", "hook-timeout", NULL };
static const ReadKey readers[] = { read_listen, read_state_dir, read_scratch_dir, read_scratch_reserve, read_max_running, read_trash_days, read_freeze_limit, read_hooks_dir,
                                    read_hook_timeout };
G_STATIC_ASSERT (G_N_ELEMENTS (keys) == G_N_ELEMENTS (readers) + 1);

const char *const *
bk_options_keys (void)
{
  return keys;
}

static ReadKey
reader_of (const char *key)
{
  for (size_t i = 0; keys[i]; i++)
    if (strcmp (keys[i], key) == 0)
      return readers[i];
  return NULL;
}

static gboolean
check_groups (GKeyFile *file, const char *path, GError **error)
{
  g_auto (GStrv) groups = g_key_file_get_groups (file, NULL);
  for (size_t i = 0; groups[i]; i++)
    if (strcmp (groups[i], GROUP) != 0) {
      g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "'%s': no such group [%s]; there is [" GROUP "]", path, groups[i]);
      return FALSE;
    }
  return TRUE;
}

static gboolean
read_key (BkOptions *options, GKeyFile *file, const char *path, const char *key, GError **error)
{
  g_autoptr (GError) local = NULL;
  ReadKey reader = reader_of (key);
  if (reader == NULL) {
    g_autofree char *known = g_strjoinv (", ", (char **)keys);
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "'%s': no such key '%s' in [" GROUP "]; there are %s", path, key, known);
    return FALSE;
  }
  if (reader (options, file, key, &local))
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "'%s': key '%s' in [" GROUP "]: %s", path, key, local->message);
  return FALSE;
}

static GKeyFile *
load_file (const char *path, GError **error)
{
  g_autoptr (GKeyFile) file = g_key_file_new ();
  g_autoptr (GError) local = NULL;
  BkErrorCode code = BK_ERROR_INVALID;
  if (g_key_file_load_from_file (file, path, G_KEY_FILE_NONE, &local))
    return g_steal_pointer (&file);
  if (g_error_matches (local, G_FILE_ERROR, G_FILE_ERROR_NOENT))
    code = BK_ERROR_NOT_FOUND;
  else if (g_error_matches (local, G_FILE_ERROR, G_FILE_ERROR_ACCES))
    code = BK_ERROR_DENIED;
  g_set_error (error, BK_ERROR, code, "cannot read the configuration '%s': %s", path, local->message);
  return NULL;
}

static gboolean
read_file (BkOptions *options, const char *path, GError **error)
{
  g_autoptr (GKeyFile) file = load_file (path, error);
  if (file == NULL || !check_groups (file, path, error))
    return FALSE;
  g_auto (GStrv) given = g_key_file_get_keys (file, GROUP, NULL, NULL);
  for (size_t i = 0; given && given[i]; i++)
    if (!read_key (options, file, path, given[i], error))
      return FALSE;
  return TRUE;
}

/* --- the command line --- */

typedef struct {
  char *config;
  char *state_dir;
  GStrv listen;
  gboolean verbose;
  gboolean version;
} CommandLine;

static void
command_line_clear (CommandLine *line)
{
  g_free (line->config);
  g_free (line->state_dir);
  g_strfreev (line->listen);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (CommandLine, command_line_clear)

static gboolean
parse_command_line (CommandLine *line, int argc, char **argv, GError **error)
{
  const GOptionEntry entries[] = {
    { "config", 0, 0, G_OPTION_ARG_FILENAME, &line->config, "Read this configuration file", "FILE" },
    { "state-dir", 0, 0, G_OPTION_ARG_FILENAME, &line->state_dir, "Keep the catalog and the default repository here", "DIR" },
    { "listen", 0, 0, G_OPTION_ARG_STRING_ARRAY, &line->listen, "Be reached at unix:PATH or tcp:HOST:PORT; may be repeated", "ADDRESS" },
    { "verbose", 0, 0, G_OPTION_ARG_NONE, &line->verbose, "Say more", NULL },
    { "version", 0, 0, G_OPTION_ARG_NONE, &line->version, "Print the version and exit", NULL },
    { NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL },
  };
  g_autoptr (GOptionContext) context = g_option_context_new ("- backs up running QEMU virtual machines");
  g_autoptr (GError) local = NULL;
  g_auto (GStrv) arguments = g_strdupv (argv);
  g_option_context_add_main_entries (context, entries, NULL);
  if (argc > 0 && !g_option_context_parse_strv (context, &arguments, &local)) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "%s; see --help", local->message);
    return FALSE;
  }
  if (line->state_dir && line->state_dir[0] == '\0') {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "'--state-dir' needs a directory; see --help");
    return FALSE;
  }
  if (argc > 0 && arguments[1]) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "'%s' is one argument too many; see --help", arguments[1]);
    return FALSE;
  }
  return TRUE;
}

/* --- both, and the defaults --- */

static char *
default_state_dir (void)
{
  return geteuid () == 0 ? g_strdup ("/var/lib/backupd") : g_build_filename (g_get_user_state_dir (), "backupd", NULL);
}

static GStrv
default_listen (void)
{
  g_autofree char *path = geteuid () == 0 ? g_strdup ("/run/backupd/backupd.sock")
                                          : g_build_filename (g_get_user_runtime_dir (), "backupd.sock", NULL);
  GStrv listen = g_new0 (char *, 2);
  listen[0] = g_strconcat ("unix:", path, NULL);
  return listen;
}

/* On the command line a relative path is one from here; in a file there is no here. */
static char *
absolute_address (const char *address)
{
  const char *path = g_str_has_prefix (address, "unix:") ? address + strlen ("unix:") : NULL;
  if (path == NULL || *path == '\0' || g_path_is_absolute (path))
    return g_strdup (address);
  g_autofree char *absolute = g_canonicalize_filename (path, NULL);
  return g_strconcat ("unix:", absolute, NULL);
}

static void
apply_command_line (BkOptions *options, CommandLine *line)
{
  options->verbose = line->verbose;
  options->version = line->version;
  if (line->state_dir) {
    g_free (options->state_dir);
    options->state_dir = g_canonicalize_filename (line->state_dir, NULL);
  }
  if (line->listen) {
    g_strfreev (options->listen);
    options->listen = g_new0 (char *, g_strv_length (line->listen) + 1);
    for (size_t i = 0; line->listen[i]; i++)
      options->listen[i] = absolute_address (line->listen[i]);
  }
}

/* A socket's path has 107 bytes at most, of which its own name and the VM's folder take some. */
#define LONGEST_EXPORT_DIR 60

static char *
default_export_dir (const char *state_dir)
{
  g_autofree char *inside = g_build_filename (state_dir, "exports", NULL);
  if (strlen (inside) <= LONGEST_EXPORT_DIR)
    return g_steal_pointer (&inside);
  g_autofree char *digits = g_compute_checksum_for_string (G_CHECKSUM_SHA256, state_dir, -1);
  digits[12] = '\0';
  g_autofree char *name = g_strconcat ("backupd-", digits, NULL);
  return g_build_filename (geteuid () == 0 ? "/run" : g_get_user_runtime_dir (), name, NULL);
}

static void
apply_defaults (BkOptions *options)
{
  if (options->state_dir == NULL)
    options->state_dir = default_state_dir ();
  if (options->scratch_dir == NULL)
    options->scratch_dir = g_build_filename (options->state_dir, "scratch", NULL);
  options->export_dir = default_export_dir (options->state_dir);
  if (options->listen == NULL || options->listen[0] == NULL) {
    g_strfreev (options->listen);
    options->listen = default_listen ();
  }
}

BkOptions *
bk_options_new (int argc, char **argv, GError **error)
{
  g_auto (CommandLine) line = { 0 };
  g_autoptr (BkOptions) options = g_new0 (BkOptions, 1);
  if (!parse_command_line (&line, argc, argv, error))
    return NULL;
  if (line.config && !read_file (options, line.config, error))
    return NULL;
  apply_command_line (options, &line);
  apply_defaults (options);
  return g_steal_pointer (&options);
}

void
bk_options_free (BkOptions *options)
{
  g_free (options->state_dir);
  g_free (options->scratch_dir);
  g_free (options->export_dir);
  g_free (options->hooks_dir);
  g_strfreev (options->listen);
  g_free (options);
}
