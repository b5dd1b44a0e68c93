/**
 * The React hook of the first design, as it was: only where that says "Handle …" there is a
 * state, and typing and reading are sent in the way that messages are.
 */
import { useEffect, useState, useCallback } from 'react';

interface Message {
  id: string;
  sender_id: string;
  content: string;
  created_at: string;
  status: 'sent' | 'delivered' | 'read';
}

export const useChat = (conversationId: string, token: string) => {
  const [messages, setMessages] = useState<Message[]>([]);
  const [isConnected, setIsConnected] = useState(false);
  const [ws, setWs] = useState<WebSocket | null>(null);
  const [others, setOthers] = useState<Record<string, any>>({});

  useEffect(() => {
    // Conectar WebSocket
    const websocket = new WebSocket(
      `ws://localhost:8000/ws/chat/${conversationId}?token=${token}`
    );

    websocket.onopen = () => {
      console.log('Connected');
      setIsConnected(true);
    };

    websocket.onmessage = (event) => {
      const data = JSON.parse(event.data);
      
      if (data.type === 'message') {
        setMessages(prev => [...prev, data.data]);
      } else if (data.type === 'typing') {
        setOthers(prev => ({ ...prev, typing: `${data.user_id} ${data.is_typing}` }));
      } else if (data.type === 'presence') {
        setOthers(prev => ({ ...prev, presence: `${data.user_id} ${data.is_online}` }));
      } else if (data.type === 'read_receipt') {
        setOthers(prev => ({ ...prev, read: `${data.read_by} ${data.message_id}` }));
      } else if (data.type === 'error') {
        setOthers(prev => ({ ...prev, error: data.data.code }));
      }
    };

    websocket.onclose = (event) => {
      console.log('Disconnected');
      setIsConnected(false);
      setOthers(prev => ({ ...prev, closed: String(event.code) }));
    };

    setWs(websocket);

    return () => {
      websocket.close();
    };
  }, [conversationId, token]);

  const sendMessage = useCallback((content: string) => {
    if (ws && ws.readyState === WebSocket.OPEN) {
      ws.send(JSON.stringify({
        type: 'message',
        content,
        message_type: 'text'
      }));
    }
  }, [ws]);

  const sendTyping = useCallback((is_typing: boolean) => {
    ws?.send(JSON.stringify({ type: 'typing', is_typing }));
  }, [ws]);

  const markRead = useCallback((message_id: string) => {
    ws?.send(JSON.stringify({ type: 'read', message_id }));
  }, [ws]);

  return {
    messages,
    isConnected,
    sendMessage,
    sendTyping,
    markRead,
    others
  };
};
