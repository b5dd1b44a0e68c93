/** The page in Spanish. It is the model: every other language has these entries. */

export const es = {
  appName: "Mensajes",
  conversations: "Conversaciones",
  skipToMessages: "Ir a los mensajes",

  // The list
  loadingConversations: "Cargando conversaciones…",
  noConversations: "Aún no hay conversaciones",
  noConversationsHint: "Cuando escribas sobre un anuncio, o alguien te escriba, la conversación aparecerá aquí.",
  noConversationsOffline: "No hay conexión, y en este dispositivo aún no hay conversaciones guardadas.",
  searchConversations: "Buscar conversación",
  clearSearch: "Borrar la búsqueda",
  nothingFound: "Ninguna conversación coincide.",
  noMessagesYet: "Sin mensajes todavía",
  archived: (count: number) => `Archivadas (${count})`,
  backToActive: "Volver a las activas",
  unreadMessages: (count: number) => (count === 1 ? "1 mensaje sin leer" : `${count} mensajes sin leer`),
  notSentYet: (count: number) => (count === 1 ? "1 mensaje por enviar" : `${count} mensajes por enviar`),
  you: "Tú",
  youPrefix: "Tú: ",
  photo: "Foto",
  document: "Documento",
  startAbout: "Pregunta por un anuncio",
  start: (title: string) => `Iniciar una conversación sobre «${title}»`,
  starting: "Abriendo…",

  // People
  unknownUser: "Usuario",
  unknownListing: "Anuncio no disponible",
  online: "En línea",
  offlinePresence: "Sin conexión",
  lastSeen: (when: string) => `Últ. vez ${when}`,
  roles: {
    client: "Inquilino/a",
    owner: "Propietario/a",
    service: "Servicio de la plataforma",
    admin: "Administración",
  } as Record<string, string>,
  unknownRole: "Otra persona",
  somebody: "Alguien",
  thirdVoices: (count: number): string => (count === 1 ? "También escribe:" : "También escriben:"),
  typing: "escribiendo…",
  isTyping: (name: string) => `${name} está escribiendo`,

  // The conversation
  conversation: "Conversación",
  chooseConversation: "Elige una conversación",
  chooseConversationHint: "Tus mensajes con inquilinos y propietarios, en un solo lugar.",
  conversationMissing: "Esta conversación no existe o no es tuya.",
  back: "Volver a las conversaciones",
  conversationMenu: "Opciones de la conversación",
  archive: "Archivar",
  unarchive: "Sacar del archivo",
  messagesWith: (name: string) => `Mensajes con ${name}`,
  loadingMessages: "Cargando mensajes…",
  loadFailed: "No se han podido cargar los mensajes.",
  beginning: "Aquí empieza la conversación",
  sayHello: (name: string) => `Escribe a ${name}`,
  sayHelloHint: "Un buen primer mensaje dice quién eres y qué te interesa.",
  openers: ["Hola, ¿sigue disponible?", "¿Podría visitarlo esta semana?", "¿Qué gastos incluye el precio?"],
  newMessages: (count: number) => (count === 1 ? "1 mensaje nuevo" : `${count} mensajes nuevos`),
  newMessagesBelow: (count: number) => (count === 1 ? "1 mensaje nuevo más abajo" : `${count} mensajes nuevos más abajo`),
  toNewest: (unread: number) => (unread === 0 ? "Ir al mensaje más reciente" : `Ir al mensaje más reciente (${unread} sin leer)`),
  toUnread: (count: number) => (count === 1 ? "1 mensaje nuevo: ir a él" : `${count} mensajes nuevos: ir al primero`),
  markAllRead: "Marcar todo como leído",
  closed: "Esta conversación está cerrada.",

  // A message
  deleted: "Mensaje eliminado",
  edited: "editado",
  sending: "Enviando",
  sent: "Enviado",
  delivered: "Entregado",
  read: "Leído",
  failed: "No enviado",
  messageActions: "Acciones del mensaje",
  reply: "Responder",
  copy: "Copiar texto",
  edit: "Editar",
  remove: "Eliminar",
  retry: "Reintentar",
  discard: "Descartar",
  copied: "Texto copiado",
  openMedia: "Abrir archivo",
  replyTo: (name: string) => `Respuesta a ${name}`,
  earlierMessage: "Mensaje anterior",
  removeQuestion: "¿Eliminar este mensaje?",
  removeHint: "Desaparecerá para los dos. No se puede deshacer.",
  cancel: "Cancelar",

  // The composer
  writeMessage: "Escribe un mensaje",
  messageLabel: (name: string) => `Mensaje para ${name}`,
  composerHint: "Intro envía; Mayúsculas + Intro hace una línea nueva.",
  send: "Enviar",
  save: "Guardar",
  editing: "Editando el mensaje",
  replying: (name: string) => `Respondiendo a ${name}`,
  cancelEdit: "Dejar de editar",
  cancelReply: "No responder",
  tooFast: (seconds: number) => `Escribes muy deprisa; vuelve a intentarlo en ${seconds} s.`,
  charactersLeft: (count: number) => (count === 1 ? "Queda 1 carácter" : `Quedan ${count} caracteres`),
  tooLong: (count: number) => (count === 1 ? "Sobra 1 carácter" : `Sobran ${count} caracteres`),

  // The connection
  connecting: "Conectando…",
  noInternet: "Sin conexión a internet. Lo que escribas se enviará cuando vuelva.",
  serverAway: "Sin conexión con el servidor. Lo que escribas se enviará cuando vuelva.",
  tryNow: "Reintentar ahora",
  dismissNotice: "Cerrar este aviso",
  sessionEnded: "Tu enlace ha caducado o ya no es válido. Abre la página con uno nuevo.",

  // Without a link
  needsLink: "Abre el chat desde tu cuenta",
  needsLinkHint: "Esta página necesita saber quién eres. Entra con el enlace que te da la aplicación: desde un anuncio o desde tu bandeja de mensajes.",
  forDevelopers: "¿Estás desarrollando?",
  developerSteps: "Al arrancar, el servidor imprime un enlace para la inquilina y otro para el propietario. Los de todas las personas de prueba están en:",

  // Preferences
  preferences: "Preferencias",
  theme: "Tema",
  themeSystem: "Como el sistema",
  themeLight: "Claro",
  themeDark: "Oscuro",
  language: "Idioma",

  // What can go wrong, by the error's code
  errors: {
    unauthorized: "Tu enlace ya no es válido.",
    token_expired: "Tu enlace ha caducado.",
    forbidden: "No tienes permiso para hacer esto.",
    blocked: "No puedes escribir a esta persona.",
    not_found: "Ya no existe.",
    own_listing: "El anuncio es tuyo.",
    idempotency_conflict: "Este mensaje ya se envió con otro texto.",
    payload_too_large: "Es demasiado grande.",
    unsupported_media: "Este tipo de archivo no se admite.",
    invalid_payload: "El servidor no acepta este contenido.",
    content_rejected: "El servidor no acepta este texto.",
    rate_limited: "Demasiadas peticiones seguidas. Espera un momento.",
    internal_error: "Ha fallado el servidor.",
    unavailable: "El servidor no está disponible ahora mismo.",
    offline: "No hay conexión.",
    timeout: "El servidor no ha respondido a tiempo.",
    disconnected: "Se ha perdido la conexión. Comprueba si ha tenido efecto.",
    closed: "La sesión ha terminado.",
  } as Record<string, string>,
  unknownError: "Algo ha salido mal.",
  waitSeconds: (seconds: number) => `Demasiadas peticiones seguidas; vuelve a intentarlo en ${seconds} s.`,
  // Which member of a message is wrong, and how: the server says both in English
  fields: {
    content: "Texto",
    media_url: "Archivo",
    attachment_id: "Archivo",
    message_type: "Tipo de mensaje",
    reply_to_seq: "Respuesta",
    listing_id: "Anuncio",
  } as Record<string, string>,
  problem: (problem: string): string | undefined => {
    const [, limit] = /longer than (?:maximum length )?(\d+)/i.exec(problem) ?? [];
    if (limit !== undefined) return `no puede tener más de ${limit} caracteres`;
    if (problem.includes("blank")) return "no puede estar vacío";
    if (problem.includes("marks")) return "tiene demasiados signos sobre una letra";
    if (/NUL|surrogates/.test(problem)) return "tiene caracteres que no son texto";
    if (problem.includes("no such message")) return "el mensaje ya no existe";
    if (problem.includes("place for media")) return "no está en un lugar permitido";
    return undefined;
  },
};

/** Texts of a language; `errors` is by the code of an error. */
export type Dictionary = typeof es;
